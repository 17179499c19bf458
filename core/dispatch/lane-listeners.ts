/** Who is told of what a lane does. */

import type { AppError } from '../base/errors.ts'
import type { Pending } from './pending.ts'

/** Told of every answer and batch; the metrics of one endpoint. */
export interface LaneObserver {
  answered(status: number, totalUs: number): void
  queuedBatch(waitUs: Uint32Array): void
  batch(requests: number, executeUs: number): void
}

export type Answer = string | Uint8Array | AppError

/** Is told of every answer of a lane whose service logs its queries. */
export interface LaneLog {
  /**
   * Called when the answer has left, while the request still holds its body. Must not throw, and
   * copies what it keeps.
   */
  record(pending: Pending, status: number, answer: Answer): void
}
