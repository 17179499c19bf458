/** What the thread that writes documents is told, and what it answers: data only. */

import type { EndpointPlan } from '../bundle/plan.ts'
import type { DescribedService } from './document.ts'

export type ToDocumentWriter =
  /** Endpoints of the service that is described; the first message of some. */
  | { readonly kind: 'endpoint'; readonly endpoint: EndpointPlan }
  /** All are told; its plan holds none of them. */
  | { readonly kind: 'write'; readonly service: DescribedService }
  /** There is nothing to write after all. */
  | { readonly kind: 'end' }

/** Both as UTF-8. */
export interface WrittenDocuments {
  readonly openapi: Uint8Array
  readonly swagger: Uint8Array
}
