/** What every operation of the control plane works on; built once, by the composition root. */

import type { Logger } from '../../core/base/logger.ts'
import type { LogTrouble } from '../../core/metrics/log-lines.ts'
import type { Forge, Serving } from '../contracts.ts'
import type { RuntimesView } from '../runtimes.ts'
import type { SerialQueue, SerialQueues } from '../serial.ts'
import type { Home } from '../store/home.ts'
import type { CopyStatus } from '../store/state-copies.ts'
import type { Certificates } from '../tls/certificates.ts'
import type { Catalog } from './catalog.ts'
import type { CompiledForms } from './compiled-forms.ts'
import type { ImportBoard } from './import-board.ts'
import type { Publisher } from './publisher.ts'

/** The part of the metrics that operations touch or look at. */
export interface OperationMetrics {
  forget(serviceId: string, generationId?: string): void
  lastUse(keyId: string): number | null
  lastCall(serviceId: string): number | null
  logTrouble(serviceId: string): LogTrouble
  keepOnly(exists: (serviceId: string, generationId: string | null) => boolean): void
}

export interface Context {
  readonly catalog: Catalog
  readonly publisher: Publisher
  readonly serving: Serving
  readonly forge: Forge
  readonly home: Home
  readonly metrics: OperationMetrics
  readonly logger: Logger
  /** Changes of one service run one after the other. */
  readonly perService: SerialQueues
  /** One forge at a time: it may take all the memory that is left. */
  readonly forging: SerialQueue
  readonly imports: ImportBoard
  /** Null: models are served as they are in their bundles. */
  readonly forms: CompiledForms | null
  readonly uploadIdleMs: number
  /** Where archives on the node's own disk may be imported from. */
  readonly importFolders: readonly string[]
  readonly switches: SwitchTickets
  /** Null: without TLS. */
  readonly certificates: Pick<Certificates, 'views' | 'causes'> | null
  /** Null: nobody has looked for interpreters and databases. */
  readonly runtimes: { view(): RuntimesView; causes(): readonly string[] } | null
  /** Null: nobody keeps copies of the state. */
  readonly copies: { status(): CopyStatus } | null
}

/**
 * Switches load first and commit later, so a slow one could undo a faster one that was asked for
 * after it. Each takes a number when it is asked for, and none commits behind a higher one.
 */
export class SwitchTickets {
  readonly #committed = new Map<string, number>()
  #last = 0

  take(): number {
    this.#last += 1
    return this.#last
  }

  isOvertaken(serviceId: string, ticket: number): boolean {
    return (this.#committed.get(serviceId) ?? 0) > ticket
  }

  commit(serviceId: string, ticket: number): void {
    this.#committed.set(serviceId, ticket)
  }

  forget(serviceId: string): void {
    this.#committed.delete(serviceId)
  }
}
