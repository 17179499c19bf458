/** What every operation of the control plane works on; built once, by the composition root. */

import type { Logger } from '../../core/base/logger.ts'
import type { ForgePhase } from '../../workers/protocol.ts'
import type { Forge, Serving } from '../contracts.ts'
import type { SerialQueue, SerialQueues } from '../serial.ts'
import type { Home } from '../store/home.ts'
import type { Catalog } from './catalog.ts'
import type { Publisher } from './publisher.ts'

/** The part of the metrics that operations touch: counts of what is deleted, and uses of keys. */
export interface OperationMetrics {
  forget(serviceId: string, generationId?: string): void
  lastUse(keyId: string): number | null
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
  readonly switches: SwitchTickets
}

/** An import under way, as `GET …/generations/{id}` shows it. */
export interface ImportStatus {
  readonly serviceId: string
  /** As far as it is known before the manifest is read. */
  readonly generationId: string
  readonly startedOn: number
  phase: ForgePhase | 'waiting' | 'committing'
  detail: string
}

export class ImportBoard {
  readonly #running = new Set<ImportStatus>()

  async track<T>(status: ImportStatus, task: () => Promise<T>): Promise<T> {
    this.#running.add(status)
    try {
      return await task()
    } finally {
      this.#running.delete(status)
    }
  }

  find(serviceId: string, generationId: string): ImportStatus | null {
    for (const status of this.#running) {
      if (status.serviceId === serviceId && status.generationId === generationId) return status
    }
    return null
  }

  isBusy(serviceId: string): boolean {
    return [...this.#running].some((status) => status.serviceId === serviceId)
  }
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
