/** Who is told of what a lane does. */

import type { AppError } from '../base/errors.ts'
import type { Pending } from './lane.ts'

/** Told of every answer and batch; the metrics of one endpoint. */
export interface LaneObserver {
  answered(status: number, totalUs: number): void
  queuedBatch(waitUs: Uint32Array): void
  batch(requests: number, executeUs: number): void
}

/** Is told of every answer of a lane whose service logs its queries. */
export interface LaneLog {
  /**
   * Called before the request leaves, while it still holds its body. Must not throw, and copies
   * what it keeps.
   */
  record(pending: Pending, status: number, answer: string | Uint8Array | AppError): void
}
