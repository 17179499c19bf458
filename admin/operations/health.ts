/**
 * Health of the node as one word and its causes. Anyone may ask, so it names services and reasons
 * and nothing that opens a door.
 *
 * UNHEALTHY: no prediction can be answered. DEGRADED: some cannot, or something needs a look.
 */

import type { ServingStatus } from '../contracts.ts'
import type { ServiceRecord } from '../store/records.ts'
import type { CertificateView, ListenerName } from '../tls/listener-certificate.ts'
import type { Context } from './context.ts'

/** A copy that is later than this counts as a fault. */
const COPY_BEHIND_MS_MAX = 60_000

export type HealthWord = 'HEALTHY' | 'DEGRADED' | 'UNHEALTHY'

export interface HealthView {
  readonly status: HealthWord
  readonly details: {
    readonly serving: {
      readonly running: boolean
      readonly listening: boolean
      readonly server: ServingStatus['server']
      readonly replaced: number
    }
    /** Only services with something to tell. */
    readonly services: Readonly<Record<string, ServiceHealth>>
    readonly causes: readonly string[]
    /** Certificates in use; absent where nothing speaks TLS. */
    readonly tls?: Partial<Record<ListenerName, CertificateView>>
  }
}

interface ServiceHealth {
  readonly status: HealthWord
  readonly causes: readonly string[]
}

export function healthView(context: Context): HealthView {
  const { pid, listening, server, replaced } = context.serving.status()
  const running = pid !== null && context.serving.observed() !== null
  const causes: string[] = []
  if (!running) causes.push('no serving process is running')
  else if (!listening) causes.push('the query port is not open yet')
  const mapped = context.catalog.services().filter(isRouted)
  const judged = mapped.map((record) => [record.id, serviceHealth(context, record)] as const)
  const troubled = judged.filter(([, { status }]) => status !== 'HEALTHY')
  for (const [id, health] of troubled) causes.push(...health.causes.map((why) => `${id}: ${why}`))
  causes.push(...(context.certificates?.causes() ?? []))
  causes.push(...copyCauses(context))
  const tls = context.certificates?.views() ?? {}
  const allDown = mapped.length > 0 && judged.every(([, { status }]) => status === 'UNHEALTHY')
  return {
    status: !running || !listening || allDown ? 'UNHEALTHY' : wordOf(causes),
    details: {
      serving: { running, listening, server, replaced },
      services: Object.fromEntries(troubled),
      causes,
      ...(Object.keys(tls).length === 0 ? {} : { tls }),
    },
  }
}

/** Copies follow a change within a second; only when they do not is there something to tell. */
function copyCauses({ copies }: Context): string[] {
  const { behindMs, lastError } = copies?.status() ?? { behindMs: 0, lastError: null }
  if (behindMs < COPY_BEHIND_MS_MAX) return []
  const why = lastError === null ? '' : `: ${lastError}`
  return [`the newest copy of the state is ${Math.round(behindMs / 1000)} s behind${why}`]
}

/** A service that nobody switched on, or that has nothing to serve yet, is not ill. */
function isRouted(record: ServiceRecord): boolean {
  return record.enabled && record.mapping.length > 0
}

function serviceHealth(context: Context, record: ServiceRecord): ServiceHealth {
  const judged = record.mapping.map(({ generationId }) =>
    generationHealth(context, record.id, generationId),
  )
  const causes = judged.flatMap((one) => one.causes)
  const down = judged.every((one) => one.down)
  return { status: down ? 'UNHEALTHY' : wordOf(causes), causes }
}

function generationHealth(
  context: Context,
  serviceId: string,
  generationId: string,
): { readonly down: boolean; readonly causes: string[] } {
  const quarantined = context.catalog.quarantined(serviceId, generationId)
  if (quarantined !== null) return { down: true, causes: [`${generationId}: ${quarantined}`] }
  const observed = context.publisher.observed({ serviceId, generationId })
  if (observed === null) return { down: true, causes: [`${generationId} is not loaded`] }
  if (observed.state === 'failed') {
    return { down: true, causes: [`${generationId} failed: ${observed.reason ?? 'no reason'}`] }
  }
  const causes: string[] = []
  if (observed.state === 'loading') causes.push(`${generationId} is loading`)
  if (observed.threadsLost > 0) {
    causes.push(`${generationId}: ${observed.threadsLost} of ${observed.threads} threads are lost`)
  }
  for (const endpoint of observed.stoppedEndpoints) {
    causes.push(`${generationId}: endpoint ${endpoint} is stopped, its runs do not end`)
  }
  const allLost = observed.threads > 0 && observed.threadsLost >= observed.threads
  return { down: observed.state === 'loading' || allLost, causes }
}

function wordOf(causes: readonly string[]): HealthWord {
  return causes.length === 0 ? 'HEALTHY' : 'DEGRADED'
}
