/**
 * Endpoints that cannot be tried away from their node, because they want a connection or an
 * interpreter that is not here: what a check before the upload leaves out, and says so.
 */

import type { Fault } from '../../core/base/errors.ts'
import type { Manifest, ManifestEndpoint } from '../../core/bundle/manifest.ts'
import { shown } from '../../core/bundle/sentences.ts'
import type { RuntimeSettings } from '../../core/config/runtimes.ts'
import { isPython, isR, lookupsOf } from './needs.ts'

export interface Untried {
  /** Of the endpoint in the manifest. */
  readonly index: number
  readonly fault: Fault
}

export function untriedOf(manifest: Manifest, settings: RuntimeSettings): Untried[] {
  return manifest.endpoints.flatMap((endpoint, index) => {
    const fault = reasonOf(endpoint, manifest, settings)
    if (fault === null) return []
    const path = `endpoints[${index}]${fault.path}`
    return [{ index, fault: { path, reason: fault.reason } }]
  })
}

/** The path is one below the endpoint. */
function reasonOf(
  endpoint: ManifestEndpoint,
  { tables = [] }: Manifest,
  { python, rscript, connections }: RuntimeSettings,
): Fault | null {
  const program = isPython(endpoint) ? [python, 'Python', '--python'] : [rscript, 'R', '--rscript']
  const [found, language, option] = program
  if ((isPython(endpoint) || isR(endpoint)) && found === null) {
    const cure = `${option} names an interpreter that is here`
    return { path: '.file', reason: `it needs ${language}, which is not on this machine; ${cure}` }
  }
  const isHere = (name: string): boolean => connections.some((one) => one.name === name)
  const direct = endpoint.type === 'SQL_QUERY' ? endpoint.connection : undefined
  if (direct !== undefined && !isHere(direct)) return { path: '.connection', reason: only(direct) }
  for (const [i, lookup] of lookupsOf(endpoint).entries()) {
    const connection = tables.find(({ name }) => name === lookup.table)?.connection
    if (connection === undefined || isHere(connection)) continue
    const place = endpoint.type === 'DATASET_LOOKUP' ? '.lookups' : '.enrich.lookups'
    return { path: `${place}[${i}].table`, reason: only(connection) }
  }
  return null
}

function only(connection: string): string {
  const cure = '--config names the config file of a node that has it'
  return `the connection ${shown(connection)} is known to its node only; ${cure}`
}
