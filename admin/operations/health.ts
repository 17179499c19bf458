/**
 * Health of the node as one word and its causes. Anyone may ask, so it names services and reasons
 * and nothing that opens a door.
 *
 * UNHEALTHY: no prediction can be answered. DEGRADED: some cannot, or something needs a look.
 */

import type { StoppedEndpoint } from '../../core/channel/messages.ts'
import type { LogTrouble } from '../../core/metrics/log-lines.ts'
import type { ServingProcess, ServingStatus } from '../contracts.ts'
import type { RuntimesView } from '../runtimes.ts'
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
      /** Where queries go, for programs that know the admin API only. */
      readonly port: ServingStatus['port']
      /** All replacements since control started. */
      readonly replaced: number
      readonly replacements: ServingStatus['replacements']
      readonly processes: readonly ServingProcess[]
      readonly stopped: ServingStatus['stopped']
      /** False: connections that are being made during a replacement may be reset. */
      readonly tcpMigrateReq: boolean | null
    }
    /** Only services with something to tell. */
    readonly services: Readonly<Record<string, ServiceHealth>>
    readonly causes: readonly string[]
    /** What endpoints that are no ONNX model can use; absent where nobody has looked. */
    readonly runtimes?: RuntimesHealth
    /** Certificates in use; absent where nothing speaks TLS. */
    readonly tls?: Partial<Record<ListenerName, CertificateView>>
  }
}

interface RuntimesHealth extends Omit<RuntimesView, 'connections'> {
  /** By name; `up` is null where no loaded generation uses it. */
  readonly connections: Readonly<Record<string, { readonly up: boolean | null }>>
}

interface ServiceHealth {
  readonly status: HealthWord
  readonly causes: readonly string[]
}

export function healthView(context: Context): HealthView {
  const status = context.serving.status()
  const { processes, listening, server, port, replacements, stopped, tcpMigrateReq } = status
  const running = processes.length > 0 && context.serving.observed() !== null
  const causes = servingCauses(status, running)
  const mapped = context.catalog.services().filter(isRouted)
  const judged = mapped.map(
    (record) => [record.id, serviceHealth(context, record, stopped)] as const,
  )
  const troubled = judged.filter(([, { status }]) => status !== 'HEALTHY')
  for (const [id, health] of troubled) causes.push(...health.causes.map((why) => `${id}: ${why}`))
  causes.push(...(context.certificates?.causes() ?? []))
  causes.push(...copyCauses(context))
  causes.push(...(context.runtimes?.causes() ?? []))
  const tls = context.certificates?.views() ?? {}
  const replaced = Object.values(replacements).reduce((sum, count) => sum + count, 0)
  const allDown = mapped.length > 0 && judged.every(([, { status }]) => status === 'UNHEALTHY')
  return {
    status: !running || !listening || allDown ? 'UNHEALTHY' : wordOf(causes),
    details: {
      serving: {
        ...{ running, listening, server, port, replaced },
        ...{ replacements, processes, stopped, tcpMigrateReq },
      },
      services: Object.fromEntries(troubled),
      causes,
      ...(context.runtimes === null ? {} : { runtimes: runtimesHealth(context, context.runtimes) }),
      ...(Object.keys(tls).length === 0 ? {} : { tls }),
    },
  }
}

/** Names and nothing else of the connections: where they lead to opens a door. */
function runtimesHealth(context: Context, found: NonNullable<Context['runtimes']>): RuntimesHealth {
  const { python, r, connections } = found.view()
  const generations = context.serving.observed()?.generations ?? []
  const statuses = generations.flatMap((one) => one.runtimes)
  const upOf = (name: string): boolean | null => {
    const ours = statuses.filter(({ subject }) => subject === `connection ${name}`)
    return ours.length === 0 ? null : ours.every(({ up }) => up)
  }
  const states = connections.map((name) => [name, { up: upOf(name) }] as const)
  return { python, r, connections: Object.fromEntries(states) }
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

/** What is wrong with the processes themselves. */
function servingCauses(status: ServingStatus, running: boolean): string[] {
  const { processes, wanted, listening, overMemory } = status
  if (!running) return ['no serving process is running']
  if (!listening) return ['the query port is not open yet']
  const causes: string[] = []
  const serving = processes.filter(({ state }) => state === 'serving').length
  if (serving < wanted) causes.push(`${serving} of ${wanted} serving processes answer queries`)
  if (overMemory) {
    causes.push('a serving process is over its limit of memory, and so is a new one: raise it')
  }
  return causes
}

const WHY_STOPPED: Readonly<Record<StoppedEndpoint['cause'], string>> = {
  hangs: 'its runs do not end',
  crashes: 'its runs end the process',
}

function stoppedCause({ generationId, endpointId, cause }: StoppedEndpoint): string {
  const again = `switch to ${generationId} again to run it, or import a better generation`
  return `${generationId}: endpoint ${endpointId} is stopped, ${WHY_STOPPED[cause]}; ${again}`
}

function serviceHealth(
  context: Context,
  record: ServiceRecord,
  allStopped: readonly StoppedEndpoint[],
): ServiceHealth {
  const stopped = allStopped.filter(({ serviceId }) => serviceId === record.id)
  const judged = record.mapping.map(({ generationId }) =>
    generationHealth(context, record.id, generationId),
  )
  const isMapped = (one: StoppedEndpoint): boolean =>
    record.mapping.some(({ generationId }) => generationId === one.generationId)
  const causes = judged.flatMap((one) => one.causes)
  causes.push(...stopped.filter(isMapped).map(stoppedCause))
  causes.push(...queryLogCauses(context.metrics.logTrouble(record.id)))
  const down = judged.every((one) => one.down)
  return { status: down ? 'UNHEALTHY' : wordOf(causes), causes }
}

/** Queries are answered all the same; only what is to be read later is not all there. */
function queryLogCauses({ code, isDropping }: LogTrouble): string[] {
  if (code !== null) return [`its query log cannot be written: ${code}; the log has the reason`]
  return isDropping ? ['lines of its query log were dropped in the last minute'] : []
}

/** What a database says holds its address and its user, and anyone may read this. */
function reasonOf(subject: string, detail: string): string {
  return subject.startsWith('connection ') ? '; the log has the reason' : `: ${detail}`
}

function generationHealth(
  context: Context,
  serviceId: string,
  generationId: string,
): { readonly down: boolean; readonly causes: string[] } {
  const quarantined = context.catalog.quarantined(serviceId, generationId)
  if (quarantined !== null) return { down: true, causes: [`${generationId}: ${quarantined}`] }
  const observed = context.publisher.observed({ serviceId, generationId })
  if (observed?.state === 'cold' || context.publisher.isCold({ serviceId, generationId })) {
    const reason = observed?.reason ?? null
    const causes = reason === null ? [] : [`${generationId}: its last load failed: ${reason}`]
    return { down: false, causes }
  }
  if (observed === null) return { down: true, causes: [`${generationId} is not loaded`] }
  if (observed.state === 'failed') {
    return { down: true, causes: [`${generationId} failed: ${observed.reason ?? 'no reason'}`] }
  }
  const causes: string[] = []
  const damaged = context.catalog.damaged(serviceId, generationId)
  if (damaged !== null) causes.push(`${generationId}: ${damaged}`)
  if (observed.state === 'loading') causes.push(`${generationId} is loading`)
  if (observed.threadsLost > 0) {
    causes.push(`${generationId}: ${observed.threadsLost} of ${observed.threads} threads are lost`)
  }
  for (const { subject, up, detail } of observed.runtimes) {
    if (!up) causes.push(`${generationId}: ${subject} is down${reasonOf(subject, detail)}`)
  }
  const allLost = observed.threads > 0 && observed.threadsLost >= observed.threads
  return { down: observed.state === 'loading' || allLost, causes }
}

function wordOf(causes: readonly string[]): HealthWord {
  return causes.length === 0 ? 'HEALTHY' : 'DEGRADED'
}
