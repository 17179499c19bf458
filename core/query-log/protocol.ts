/**
 * What the main thread and the writer of the query log say to each other. Lines travel as slabs:
 * one buffer with the bytes of many queries, which is transferred and comes back empty.
 */

/** Who has answered whom: what the lines of many queries share. */
export interface Source {
  readonly serviceId: string
  /** Null: none was reached. */
  readonly endpointId: string | null
  readonly generationId: string | null
  /** Null: nobody had to say who asks. */
  readonly callerId: string | null
}

/** Lines of a service, or of those that it has lost. */
export type ServiceLines = readonly [serviceId: string, lines: number]

export interface LinesMessage {
  readonly kind: 'lines'
  /** See slab.ts. */
  readonly buffer: ArrayBuffer
  readonly count: number
  readonly usedBytes: number
  /** Milliseconds since the epoch that the times of the lines count from. */
  readonly baseMs: number
  /** Sources whose first line is in this slab, with the numbers that lines name them by. */
  readonly sources: readonly (readonly [id: number, source: Source])[]
  /** All numbers of sources before these are free. */
  readonly forget: boolean
  /** Queries that found no room before these lines. */
  readonly dropped: readonly ServiceLines[]
}

export type ToWriter =
  | LinesMessage
  /** Answered when all that came before is written, or given up. */
  | { readonly kind: 'flush'; readonly id: number }
  | { readonly kind: 'close' }

export type FromWriter =
  | {
      readonly kind: 'done'
      /** Empty, for the next lines. */
      readonly buffer: ArrayBuffer
      readonly written: readonly ServiceLines[]
      /** Could not be written. */
      readonly lost: readonly ServiceLines[]
    }
  | { readonly kind: 'flushed'; readonly id: number }
  | {
      readonly kind: 'trouble'
      readonly serviceId: string
      /** Why lines cannot be written, or null: they can be again. */
      readonly reason: string | null
      /** The system's word for it, ENOSPC for one, which names no path. */
      readonly code: string | null
    }

/** `workerData` of the writer's thread. */
export interface WriterSetup {
  readonly directory: string
  readonly fileBytesMax: number
  readonly totalBytesMax: number
}
