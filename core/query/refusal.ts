/** Queries that are refused before a lane has them: for whoever logs the queries of a service. */

import type { AppError } from '../base/errors.ts'
import type { DesiredService } from '../channel/messages.ts'

export interface Refusal {
  readonly service: DesiredService
  /** As the path says; the service may have no such endpoint. */
  readonly endpointId: string
  /** Null: none was chosen yet. */
  readonly generationId: string | null
  /** Null: nobody, or not known who. */
  readonly callerId: string | null
  /** As the caller has it; null: nobody was there to be answered. */
  readonly requestId: string | null
  readonly error: AppError
}

export type OnRefusal = (refusal: Refusal) => void
