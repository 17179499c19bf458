/**
 * The connection that a bundle names, if there is one that it may use. Loads no driver: the forge
 * asks before it knows whether any will be needed.
 */

import { AppError } from '../../core/base/errors.ts'
import { nearest } from '../../core/bundle/sentences.ts'
import type { RuntimeStatus } from '../../core/children/spec.ts'
import type { ConnectionSettings } from '../../core/config/runtimes.ts'
import type { RuntimeContext } from '../runtime.ts'

/** More names help nobody. */
const NAMES_MAX = 20

/** Throws ERR_CONNECTION_UNUSABLE. */
export function usableConnection(
  connections: readonly ConnectionSettings[],
  name: string,
  serviceId: string,
): ConnectionSettings {
  const isOpen = ({ services }: ConnectionSettings): boolean =>
    services === null || services.includes(serviceId)
  const found = connections.find((connection) => connection.name === name)
  if (found !== undefined && isOpen(found)) return found
  // Names of connections that belong to other services are not this bundle's business.
  const hint = hintOf(
    name,
    connections.filter(isOpen).map((one) => one.name),
  )
  const wrong =
    found === undefined
      ? `the node has no connection "${name}"`
      : `the connection "${name}" is not open to the service "${serviceId}"`
  throw new AppError('ERR_CONNECTION_UNUSABLE', `${wrong}; ${hint}`)
}

function hintOf(name: string, open: readonly string[]): string {
  if (open.length === 0) {
    return 'it may use none: "connections" in the config file of the node is the place for them'
  }
  const near = nearest(name, open)
  const all = `it may use ${open.slice(0, NAMES_MAX).join(', ')}`
  return near === null ? all : `${all}; did you mean "${near}"?`
}

/** Health says that a connection is down; why is for the operator alone. */
export function reportTo({
  report,
  log,
}: Pick<RuntimeContext, 'report' | 'log'>): RuntimeContext['report'] {
  let isUp = true
  return (status: RuntimeStatus) => {
    const { subject, up, detail } = status
    if (!up && isUp) log('warn', { subject, reason: detail }, 'a database cannot be reached')
    if (up && !isUp) log('info', { subject, program: detail }, 'a database answers again')
    isUp = up
    report(status)
  }
}
