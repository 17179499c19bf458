/**
 * The imports under way, from the first byte of an upload to the answer: what each of them does,
 * how far it is, and what it may still write to the disk. Their beginnings and ends are logged, and
 * long ones say now and then that they go on.
 */

import { nowMs, wallMs } from '../../core/base/clock.ts'
import { AppError, messageOf } from '../../core/base/errors.ts'
import type { Logger } from '../../core/base/logger.ts'
import type { ForgePhase, ForgeProgress } from '../../workers/protocol.ts'
import type { DiskSpace, SpaceClaim } from '../store/space.ts'

const LOG_EVERY_MS = 10_000

export type ImportPhase =
  | 'receiving'
  | 'waiting'
  | ForgePhase
  | 'compiling'
  | 'flushing'
  | 'committing'

export interface ImportStart {
  readonly serviceId: string
  /** As far as it is known before the manifest is read; '' when not at all. */
  readonly generationId: string
  readonly phase: ImportPhase
}

/** An import under way, as `GET …/generations/{id}` shows it. */
export interface ImportStatus extends ImportStart {
  readonly startedOn: number
  readonly detail: string
  /** Bytes of this phase; null where they are not counted or, the total, not known. */
  readonly doneBytes: number | null
  readonly totalBytes: number | null
}

export class ImportTask implements ImportStatus {
  readonly serviceId: string
  readonly startedOn = wallMs()
  readonly space: SpaceClaim
  generationId: string
  phase: ImportPhase
  detail = ''
  doneBytes: number | null = null
  totalBytes: number | null = null
  archiveBytes = 0
  readonly #phasesMs = new Map<ImportPhase, number>()
  readonly #startedMs = nowMs()
  #phaseMs = nowMs()

  constructor(start: ImportStart, space: SpaceClaim) {
    this.serviceId = start.serviceId
    this.generationId = start.generationId
    this.phase = start.phase
    this.space = space
  }

  enter(phase: ImportPhase, detail = '', progress: ForgeProgress | null = null): void {
    const now = nowMs()
    this.#phasesMs.set(this.phase, (this.#phasesMs.get(this.phase) ?? 0) + now - this.#phaseMs)
    this.#phaseMs = now
    this.phase = phase
    this.detail = detail
    this.doneBytes = progress?.doneBytes ?? null
    this.totalBytes = progress?.totalBytes ?? null
  }

  received(bytes: number, totalBytes: number | null): void {
    this.archiveBytes = bytes
    this.doneBytes = bytes
    this.totalBytes = totalBytes
  }

  /** For the log. */
  fields(): object {
    const { serviceId, generationId, phase, doneBytes, totalBytes } = this
    return { serviceId, generationId, phase, doneBytes, totalBytes, ms: this.#ms() }
  }

  /** For the last line of the log: how long each phase took. */
  summary(): object {
    this.enter(this.phase)
    const { serviceId, generationId, archiveBytes } = this
    const phasesMs = Object.fromEntries(
      [...this.#phasesMs].map(([phase, ms]) => [phase, Math.round(ms)]),
    )
    return { serviceId, generationId, archiveBytes, ms: this.#ms(), phasesMs }
  }

  #ms(): number {
    return Math.round(nowMs() - this.#startedMs)
  }
}

export class ImportBoard {
  readonly #running = new Set<ImportTask>()
  readonly #ended = new Set<() => void>()
  readonly #stopping = new AbortController()
  readonly #space: DiskSpace
  readonly #logger: Logger

  constructor(space: DiskSpace, logger: Logger) {
    this.#space = space
    this.#logger = logger
  }

  get count(): number {
    return this.#running.size
  }

  /** What could be written now beside the imports under way. */
  freeBytes(): number {
    const claim = this.#space.open()
    try {
      return claim.available()
    } finally {
      claim.release()
    }
  }

  /** Aborted when the node stops: who waits for a caller gives that up. */
  get stopping(): AbortSignal {
    return this.#stopping.signal
  }

  /** Ends what still receives its archive, and refuses what comes now. */
  stop(): void {
    this.#stopping.abort(new AppError('ERR_STOPPING', 'the import was given up'))
  }

  async run<T>(start: ImportStart, work: (task: ImportTask) => Promise<T>): Promise<T> {
    this.stopping.throwIfAborted()
    const task = new ImportTask(start, this.#space.open())
    const timer = setInterval(
      () => this.#logger.info(task.fields(), 'an import goes on'),
      LOG_EVERY_MS,
    )
    this.#running.add(task)
    try {
      this.#logger.info(task.fields(), 'an import begins')
      const result = await work(task)
      this.#logger.info(task.summary(), 'an import is done')
      return result
    } catch (error) {
      const { phase } = task
      const code = error instanceof AppError ? error.code : null
      const why = { phase, code, reason: messageOf(error) }
      this.#logger.warn({ ...task.summary(), ...why }, 'an import failed; nothing of it is kept')
      throw error
    } finally {
      clearInterval(timer)
      this.#running.delete(task)
      task.space.release()
      if (this.count === 0) for (const tell of this.#ended) tell()
    }
  }

  /** Settles when none is under way any more, or after a while. */
  async whenIdle(limitMs: number): Promise<void> {
    if (this.count === 0) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, limitMs)
      this.#ended.add(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  /** The newest of this name. */
  find(serviceId: string, generationId: string): ImportStatus | null {
    return this.of(serviceId).findLast((task) => task.generationId === generationId) ?? null
  }

  of(serviceId: string): readonly ImportStatus[] {
    return [...this.#running].filter((task) => task.serviceId === serviceId)
  }

  isBusy(serviceId: string): boolean {
    return this.of(serviceId).length > 0
  }
}
