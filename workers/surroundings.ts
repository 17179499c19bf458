/**
 * What the runtimes of a thread may use: in a thread that waits, children, log and health, all over
 * the port that came with its load; in one that computes, nothing but files.
 */

import type { MessagePort } from 'node:worker_threads'
import type { RuntimeStatus, ToSpawner } from '../core/children/spec.ts'
import type { ChildHost } from './children/child-host.ts'
import type { LoadNote, WorkerSetup } from './protocol.ts'
import type { RuntimeContext } from './runtime.ts'

/** Statuses change with every call; so often they are told. */
const TELL_EVERY_MS = 250
/** A lost child is replaced without a wait for a start. */
const SPARES = 1
const NOTES_MAX = 100

export interface Surroundings {
  readonly context: RuntimeContext
  /** What was to be logged, where that has no way of its own. */
  readonly notes: readonly LoadNote[]
  /** Tells at once what has not been told yet. */
  flush(): void
  /** When all runtimes are released. */
  close(): Promise<void>
}

export async function surroundingsOf(
  setup: WorkerSetup,
  port: MessagePort | null,
): Promise<Surroundings> {
  if (port === null) {
    const notes: LoadNote[] = []
    const log: RuntimeContext['log'] = (level, fields, text) => {
      // Nobody collects what is said after the load.
      if (notes.length < NOTES_MAX) notes.push({ level, fields, text })
    }
    const context = { ...contextOf(setup), children: null, report: () => {}, log }
    return { context, notes, flush: () => {}, close: async () => {} }
  }
  const { portHost } = await import('./children/port-host.ts')
  const host = await portHost(port, setup.settings)
  return new Portal(setup, port, host)
}

function contextOf(setup: WorkerSetup): Omit<RuntimeContext, 'children' | 'report' | 'log'> {
  const { serviceId, generationId, directory, plan, settings, checked = {} } = setup
  const place = { serviceId, generationId, directory, tables: plan.tables ?? [] }
  return { ...place, settings, checked, spares: SPARES }
}

class Portal implements Surroundings {
  readonly context: RuntimeContext
  readonly notes = []
  readonly #port: MessagePort
  readonly #host: ChildHost
  readonly #statuses = new Map<string, RuntimeStatus>()
  #timer: NodeJS.Timeout | null = null

  constructor(setup: WorkerSetup, port: MessagePort, host: ChildHost) {
    this.#port = port
    this.#host = host
    const { serviceId, generationId } = setup
    this.context = {
      ...contextOf(setup),
      children: host,
      report: (status) => this.#report(status),
      log: (level, fields, text) =>
        this.#post({ kind: 'log', level, fields: { serviceId, generationId, ...fields }, text }),
    }
  }

  flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    if (this.#statuses.size === 0) return
    this.#post({ kind: 'status', statuses: [...this.#statuses.values()] })
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    await this.#host.close()
    this.#port.close()
  }

  #report(status: RuntimeStatus): void {
    this.#statuses.set(status.subject, status)
    this.#timer ??= setTimeout(() => this.flush(), TELL_EVERY_MS).unref()
  }

  #post(message: ToSpawner): void {
    this.#port.postMessage(message)
  }
}
