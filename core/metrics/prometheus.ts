/**
 * The Prometheus text of `GET /metrics`. Counters and histograms are per endpoint of a generation;
 * sums over them are the reader's to make. Only what had traffic has series.
 */

import type { LatencyHistogram } from './histogram.ts'
import type { Series } from './series.ts'
import { sortedStatuses } from './status.ts'
import type { MetricsView } from './view.ts'

export const PROMETHEUS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** What the store cannot know: the node around it. */
export interface NodeInfo {
  readonly version: string
  readonly nodeVersion: string
  readonly uptimeS: number
  readonly services: number
  readonly generationsLoaded: number
  /** Generations that receive traffic and load at their next request. */
  readonly generationsCold: number
  /** Imports under way, from the first byte of the upload. */
  readonly imports: number
  /** Serving processes that were replaced since control started, by reason; all reasons. */
  readonly serveReplacements: Readonly<Record<string, number>>
  /** Serving processes by what they do; all states. */
  readonly serveProcesses: Readonly<Record<string, number>>
  readonly stoppedEndpoints: readonly StoppedInfo[]
  readonly processes: readonly ProcessInfo[]
  /** Of the listeners that speak TLS. */
  readonly certificates?: readonly CertificateInfo[]
}

export interface CertificateInfo {
  readonly listener: string
  /** Seconds since the epoch. */
  readonly notAfterS: number
}

/** An endpoint that is not run any more, because its runs do harm. */
export interface StoppedInfo {
  readonly serviceId: string
  readonly generationId: string
  readonly endpointId: string
  readonly cause: string
}

export interface ProcessInfo {
  /** `control` or `serve`; there may be several of the latter. */
  readonly name: string
  readonly pid: number
  /** Seconds since the epoch. */
  readonly startedAtS: number
  /** Null when it could not be read. */
  readonly residentBytes: number | null
}

/** Upper bounds of the histograms' buckets: three a decade, from 100 µs to the longest value. */
const BOUNDS_US: readonly number[] = [
  100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
  2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
]

type Labels = Readonly<Record<string, string>>
type Sample = readonly [suffix: string, labels: Labels, value: number]

interface Family {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly samples: readonly Sample[]
}

interface Labelled {
  readonly labels: Labels
  readonly series: Series
}

export function prometheusText(view: MetricsView, info: NodeInfo): string {
  const endpoints = endpointSeries(view)
  const families = [
    requestsFamily([...endpoints, ...unroutedSeries(view)]),
    ...histogramFamilies(endpoints),
    ...batchFamilies(endpoints),
    queryLogFamily(view),
    ...loadFamilies(view),
    ...gaugeFamilies(view),
    ...heldFamilies(view),
    ...nodeFamilies(info),
    ...processFamilies(info.processes),
    certificateFamily(info.certificates ?? []),
  ]
  return families.map(familyText).join('')
}

function endpointSeries(view: MetricsView): Labelled[] {
  const found: Labelled[] = []
  for (const [service, { generations }] of view.services) {
    for (const [generation, endpoints] of generations) {
      for (const [endpoint, series] of endpoints) {
        found.push({ labels: { service, generation, endpoint }, series })
      }
    }
  }
  return found
}

/** Refused before an endpoint was found: empty labels, which Prometheus takes as absent. */
function unroutedSeries(view: MetricsView): Labelled[] {
  return [...view.services].map(([service, { unrouted }]) => ({
    labels: { service, generation: '', endpoint: '' },
    series: unrouted,
  }))
}

function requestsFamily(all: readonly Labelled[]): Family {
  const samples = all.flatMap(({ labels, series }) =>
    sortedStatuses(series.statuses).map(
      ([status, count]): Sample => ['', { ...labels, code: String(status) }, count],
    ),
  )
  return {
    name: 'switchyard_requests_total',
    type: 'counter',
    help: 'Answered query requests to known services, by HTTP status.',
    samples,
  }
}

function histogramFamilies(endpoints: readonly Labelled[]): Family[] {
  return [
    {
      name: 'switchyard_request_duration_seconds',
      type: 'histogram',
      help: 'Time from the last byte of a request to its answer.',
      samples: endpoints.flatMap(({ labels, series }) => histogramSamples(labels, series.total)),
    },
    {
      name: 'switchyard_request_queue_duration_seconds',
      type: 'histogram',
      help: 'Time that a request waited for a worker.',
      samples: endpoints.flatMap(({ labels, series }) => histogramSamples(labels, series.queue)),
    },
    {
      name: 'switchyard_batch_execution_duration_seconds',
      type: 'histogram',
      help: 'Time that a worker took for a batch of requests.',
      samples: endpoints.flatMap(({ labels, series }) => histogramSamples(labels, series.execute)),
    },
  ]
}

function histogramSamples(
  labels: Labels,
  part: { readonly sumUs: number; readonly durations: LatencyHistogram },
): Sample[] {
  const { count } = part.durations
  if (count === 0) return []
  const below = part.durations.cumulative(BOUNDS_US)
  const buckets = BOUNDS_US.map((bound, index): Sample => {
    return ['_bucket', { ...labels, le: String(bound / 1e6) }, below[index] ?? count]
  })
  return [
    ...buckets,
    ['_bucket', { ...labels, le: '+Inf' }, count],
    ['_sum', labels, part.sumUs / 1e6],
    ['_count', labels, count],
  ]
}

function batchFamilies(endpoints: readonly Labelled[]): Family[] {
  return [
    {
      name: 'switchyard_batches_total',
      type: 'counter',
      help: 'Batches that workers ran.',
      samples: endpoints.map(({ labels, series }): Sample => ['', labels, series.batches]),
    },
    {
      name: 'switchyard_batch_rows_total',
      type: 'counter',
      help: 'Requests in those batches; divided by the batches, their mean size.',
      samples: endpoints.map(({ labels, series }): Sample => ['', labels, series.batchRows]),
    },
  ]
}

/** Of services that log: both outcomes from the start, so that an alert has a zero to grow from. */
function queryLogFamily({ services }: MetricsView): Family {
  const samples = [...services].flatMap(([service, { log }]): Sample[] => {
    if (log === null) return []
    const sample = (outcome: string, lines: number): Sample => ['', { service, outcome }, lines]
    return [sample('written', log.written), sample('dropped', log.dropped)]
  })
  return {
    name: 'switchyard_query_log_lines_total',
    type: 'counter',
    help: 'Lines of the query log, by what became of them.',
    samples,
  }
}

function loadFamilies({ loads }: MetricsView): Family[] {
  return [
    {
      name: 'switchyard_generation_loads_total',
      type: 'counter',
      help: 'Loads of generations, by what they were for; those that failed too.',
      samples: loads.map(({ cause, count }): Sample => ['', { cause }, count]),
    },
    {
      name: 'switchyard_generation_load_seconds_total',
      type: 'counter',
      help: 'Time that these loads took.',
      samples: loads.map(({ cause, sumMs }): Sample => ['', { cause }, sumMs / 1000]),
    },
  ]
}

function gaugeFamilies(view: MetricsView): Family[] {
  return [
    gauge('switchyard_active_requests', 'Query requests in progress.', view.activeRequests),
    gauge('switchyard_connections', 'Open connections to the query API.', view.connections),
  ]
}

function heldFamilies({ held, sheds }: MetricsView): Family[] {
  return [
    {
      name: 'switchyard_held_bytes',
      type: 'gauge',
      help: 'Bytes of query bodies, and of large answers that their readers have not taken yet.',
      samples: Object.entries(held).map(([of, bytes]): Sample => ['', { of }, bytes]),
    },
    {
      name: 'switchyard_sheds_total',
      type: 'counter',
      help: 'Bodies and answers refused, and slow readers cut off, for too many bytes waited.',
      samples: sheds.map(([kind, count]): Sample => ['', { kind }, count]),
    },
  ]
}

function nodeFamilies(info: NodeInfo): Family[] {
  return [
    {
      name: 'switchyard_build_info',
      type: 'gauge',
      help: 'Always 1; the labels name the versions that run.',
      samples: [['', { version: info.version, node_version: info.nodeVersion }, 1]],
    },
    gauge('switchyard_uptime_seconds', 'Time since the node started.', info.uptimeS),
    gauge('switchyard_services', 'Services that exist.', info.services),
    gauge('switchyard_generations_loaded', 'Generations in memory.', info.generationsLoaded),
    gauge(
      'switchyard_generations_cold',
      'Generations that load at their next request.',
      info.generationsCold,
    ),
    gauge('switchyard_imports', 'Imports under way.', info.imports),
    ...servingFamilies(info),
  ]
}

function servingFamilies(info: NodeInfo): Family[] {
  const { serveReplacements, serveProcesses, stoppedEndpoints } = info
  return [
    {
      name: 'switchyard_serve_replacements_total',
      type: 'counter',
      help: 'Serving processes that were replaced, by reason.',
      samples: Object.entries(serveReplacements).map(([reason, count]): Sample => {
        return ['', { reason }, count]
      }),
    },
    {
      name: 'switchyard_serve_processes',
      type: 'gauge',
      help: 'Serving processes, by what they do.',
      samples: Object.entries(serveProcesses).map(([state, count]): Sample => {
        return ['', { state }, count]
      }),
    },
    {
      name: 'switchyard_endpoint_stopped',
      type: 'gauge',
      help: 'Always 1; endpoints that are refused because their runs hang or crash.',
      samples: stoppedEndpoints.map(({ serviceId, generationId, endpointId, cause }): Sample => {
        const labels = { service: serviceId, generation: generationId, endpoint: endpointId }
        return ['', { ...labels, cause }, 1]
      }),
    },
  ]
}

function processFamilies(processes: readonly ProcessInfo[]): Family[] {
  const resident = processes.flatMap(({ name, pid, residentBytes }): Sample[] =>
    residentBytes === null ? [] : [['', { process: name, pid: String(pid) }, residentBytes]],
  )
  return [
    {
      name: 'switchyard_process_start_time_seconds',
      type: 'gauge',
      help: 'Start of each process of the node, since the epoch.',
      samples: processes.map(({ name, pid, startedAtS }): Sample => {
        return ['', { process: name, pid: String(pid) }, startedAtS]
      }),
    },
    {
      name: 'switchyard_process_resident_memory_bytes',
      type: 'gauge',
      help: 'Resident memory of each process of the node.',
      samples: resident,
    },
  ]
}

function certificateFamily(certificates: readonly CertificateInfo[]): Family {
  return {
    name: 'switchyard_tls_certificate_not_after_seconds',
    type: 'gauge',
    help: 'When the certificate of a listener expires, since the epoch.',
    samples: certificates.map(({ listener, notAfterS }): Sample => ['', { listener }, notAfterS]),
  }
}

function gauge(name: string, help: string, value: number): Family {
  return { name, type: 'gauge', help, samples: [['', {}, value]] }
}

/** A family without samples is left out: a name alone tells a reader nothing. */
function familyText({ name, type, help, samples }: Family): string {
  if (samples.length === 0) return ''
  const head = `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`
  const lines = samples.map(([suffix, labels, value]) => {
    return `${name}${suffix}${labelsText(labels)} ${value}\n`
  })
  return head + lines.join('')
}

function labelsText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

/** The three characters that the text format gives a meaning inside a label value. */
function escaped(value: string): string {
  return value.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n')
}
