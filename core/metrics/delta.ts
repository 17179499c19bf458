/** What serve counted since the last collection; control adds it up. Raw data for the channel. */

/** Pairs value, count of an HDR histogram in microseconds. */
export type HistogramDelta = Uint32Array

export interface EndpointDelta {
  readonly serviceId: string
  readonly generationId: string
  readonly endpointId: string
  /** Pairs HTTP status, count. */
  readonly statuses: Uint32Array
  /** Requests answered 5xx or 429. */
  readonly errors: number
  readonly total: HistogramDelta
  readonly queue: HistogramDelta
  /** One value for each batch. */
  readonly execute: HistogramDelta
  /** The sums are of the durations as measured, so averages carry no error of the buckets. */
  readonly totalSumUs: number
  readonly queueSumUs: number
  readonly executeSumUs: number
  readonly batches: number
  readonly batchRows: number
}

/** Requests that named a service but reached no endpoint: 401, 404, 503 and their like. */
export interface ServiceDelta {
  readonly serviceId: string
  readonly statuses: Uint32Array
  readonly errors: number
}

/** Lines of a service's query log; only of services that have something to tell. */
export interface QueryLogDelta {
  readonly serviceId: string
  readonly written: number
  /** Had no room, or could not be written. */
  readonly dropped: number
  /** The system's word for why lines cannot be written at the moment; null: they can. */
  readonly trouble: string | null
}

/** Loads of generations for one cause. */
export interface LoadDelta {
  readonly cause: string
  readonly count: number
  readonly sumMs: number
}

/** Bytes that a process keeps for its callers at one moment. */
export interface HeldBytes {
  /** Of requests that are coming, or are not answered yet. */
  readonly bodies: number
  /** Of large answers whose readers have not taken them yet. */
  readonly answers: number
}

/** Something was given up, so that such bytes stay in bounds. */
export type ShedCount = readonly [kind: string, count: number]

export interface MetricsDelta {
  readonly endpoints: readonly EndpointDelta[]
  readonly services: readonly ServiceDelta[]
  /** Ids of the keys with which a service was called. */
  readonly usedKeys: readonly string[]
  /** Absent: nothing is logged. */
  readonly queryLog?: readonly QueryLogDelta[]
  /** Absent: nothing was loaded. */
  readonly loads?: readonly LoadDelta[]
  /** Absent: nothing was given up. */
  readonly sheds?: readonly ShedCount[]
  readonly activeRequests: number
  readonly connections: number
  /** Absent: nothing is held. */
  readonly held?: HeldBytes
}
