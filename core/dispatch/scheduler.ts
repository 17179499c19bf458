/**
 * Decides which lane gets the next thread. One per serving process, over all pools.
 *
 * At most `permits` batches run at once, so that model threads leave a core to the event loop.
 * Lanes take turns by the thread time they used (deficit round robin, paid after the run, since a
 * batch's cost is known only then); of lanes in credit, single rows go before many-row requests.
 *
 * Lanes that wait for children or databases need no permit: each has a runner with a few places of
 * its own, so they take nothing from one another and none of this touches them.
 */

import type { Reroute, RowFailure, WorkerOutcome } from '../../workers/protocol.ts'
import { assert } from '../base/assert.ts'
import { nowMs } from '../base/clock.ts'
import { AppError, messageOf, toAppError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { Verb } from '../bundle/kinds.ts'
import { LIMITS } from '../config/limits.ts'
import { PackedBatch } from './batch.ts'
import type { BatchRunner, Lane, Whereto } from './lane.ts'
import type { Pending } from './pending.ts'
import { isStatus } from './status.ts'

const TICK_MS = 5
const QUANTUM_US = 5_000
/** However long a run was, its lane waits at most until the others have had this much. */
const DEBT_MAX_US = 1_000_000
/** So much of the others' time passes before an explanation that waits gets its next slice. */
const EXPLAIN_PAUSE_US = 80_000

/** Is told of each batch of a witnessed lane before a thread can get it, and when it has ended. */
export interface RunWitness {
  enter(subject: string): number
  leave(record: number): void
}

export interface SchedulerOptions {
  readonly permits: number
  readonly hangMs: number
  readonly logger: Logger
  /** Notes which endpoints are inside a run; null: nobody asked for that. */
  readonly witness: RunWitness | null
}

interface Run {
  readonly lane: Lane
  readonly batch: readonly Pending[]
  readonly startMs: number
  holdsPermit: boolean
  hung: boolean
}

export class Scheduler {
  readonly #options: SchedulerOptions
  /** Lanes that hold waiting requests, in the order of their turns: with permits, and without. */
  readonly #ready: Lane[] = []
  readonly #readyForIo: Lane[] = []
  readonly #watched = new Set<Lane>()
  readonly #running = new Set<Run>()
  #permits: number
  /** Thread time of the others since an explanation last had its turn. */
  #othersUs = 0
  #turnIsDue = false
  #tick: NodeJS.Timeout | null = null

  constructor(options: SchedulerOptions) {
    this.#options = options
    this.#permits = options.permits
  }

  /** Call after a request has entered the lane: it is sent at the end of this loop turn. */
  wake(lane: Lane): void {
    if (lane.waiting === 1) this.#makeReady(lane)
    if (!lane.watched) this.#watch(lane)
    this.threadIsFree()
  }

  /** Call when a thread has come from elsewhere than a run: requests may wait for it already. */
  threadIsFree(): void {
    if (this.#turnIsDue) return
    this.#turnIsDue = true
    setImmediate(this.#turn)
  }

  /** Batches that run right now. */
  get running(): number {
    return this.#running.size
  }

  /** Nothing of this lane is run from now on: its waiting requests are answered at once. */
  stopLane(lane: Lane, error: AppError): void {
    lane.stop(error)
    this.#forgetIfEmpty(lane)
  }

  /** Hands batches over while threads and permits are free. */
  readonly #turn = (): void => {
    this.#turnIsDue = false
    if (this.#readyForIo.length > 0) this.#serveIo()
    while (this.#permits > 0) {
      const lane = this.#next()
      if (lane === null) return
      const batch = lane.take(Math.min(this.#permits, lane.runner.freeThreads))
      this.#forgetIfEmpty(lane)
      if (batch.length > 0) void this.#run(lane, batch)
    }
  }

  /** Whoever was served goes to the end of the list, so that two verbs of one runner take turns. */
  #serveIo(): void {
    for (let lane = this.#nextForIo(); lane !== undefined; lane = this.#nextForIo()) {
      const batch = lane.take()
      this.#forgetIfEmpty(lane)
      if (batch.length > 0) void this.#run(lane, batch)
    }
  }

  #nextForIo(): Lane | undefined {
    return this.#readyForIo.find(isAble)
  }

  #next(): Lane | null {
    const able = this.#ready.filter(isAble)
    const [first] = able
    if (first === undefined) return null
    if (able.length > 1) return pick(this.#withoutExplanations(able))
    // Nobody else waits, so nobody is owed anything.
    first.creditUs = 0
    return first
  }

  /**
   * Explanations come after all others, who wait for one slice at most; but they do come, however
   * much there is to do, since a request that starves is an error in the end.
   */
  #withoutExplanations(able: readonly Lane[]): readonly Lane[] {
    const others = able.filter((lane) => lane.options.verb !== 'explain')
    if (others.length === 0 || others.length === able.length) return able
    if (this.#othersUs < EXPLAIN_PAUSE_US) return others
    return able.filter((lane) => lane.options.verb === 'explain')
  }

  #listOf(lane: Lane): Lane[] {
    return lane.options.permit ? this.#ready : this.#readyForIo
  }

  #makeReady(lane: Lane): void {
    const ready = this.#listOf(lane)
    if (ready.includes(lane)) return
    // While it rested the others could have all the time that it owed them.
    if (lane.restingSinceMs > 0) lane.creditUs += (nowMs() - lane.restingSinceMs) * 1000
    lane.restingSinceMs = 0
    lane.creditUs = Math.min(lane.creditUs, QUANTUM_US)
    ready.push(lane)
  }

  /** Served lanes go to the end, so that equals take turns. */
  #forgetIfEmpty(lane: Lane): void {
    const ready = this.#listOf(lane)
    const at = ready.indexOf(lane)
    if (at >= 0) ready.splice(at, 1)
    if (lane.waiting > 0) ready.push(lane)
  }

  async #run(lane: Lane, batch: Pending[]): Promise<void> {
    const startMs = nowMs()
    const holdsPermit = lane.options.permit
    const run: Run = { lane, batch, startMs, holdsPermit, hung: false }
    if (holdsPermit) this.#permits -= 1
    this.#running.add(run)
    lane.runs += 1
    lane.restingSinceMs = 0
    const packed = new PackedBatch(lane, batch, startMs)
    const { witness } = this.#options
    const outcome =
      witness === null || !lane.options.witnessed
        ? await runSafely(lane.runner, packed)
        : await runNoted(witness, lane, packed)
    this.#finish(run, outcome)
    // The next batch goes out before these answers are written: its thread need not wait for them.
    if (this.#ready.length > 0 || this.#readyForIo.length > 0) this.#turn()
    this.#deliver(run, outcome, packed.waitUs)
  }

  #finish(run: Run, outcome: WorkerOutcome): void {
    this.#running.delete(run)
    if (run.holdsPermit) this.#permits += 1
    assert(this.#permits <= this.#options.permits, 'no permit comes back twice')
    const { lane } = run
    if (run.hung) lane.options.onHangEnded()
    const endMs = nowMs()
    const usedUs = (endMs - run.startMs) * 1000
    this.#othersUs = lane.options.verb === 'explain' ? 0 : this.#othersUs + usedUs
    lane.creditUs = Math.max(lane.creditUs - usedUs, -DEBT_MAX_US)
    lane.ran(run.batch.length, usedUs, outcome.kind === 'answers' ? outcome.executeUs : null)
    lane.runs -= 1
    if (lane.runs === 0 && lane.waiting === 0) lane.restingSinceMs = endMs
  }

  #deliver(run: Run, outcome: WorkerOutcome, waitUs: Uint32Array): void {
    const { lane, batch } = run
    if (outcome.kind === 'continues' && lane.options.verb === 'explain') {
      this.#goOn(run, outcome, waitUs)
      return
    }
    if (outcome.kind !== 'answers') {
      const error = errorOf(outcome)
      this.#options.logger.warn({ lane: lane.options.name, code: error.code }, error.message)
      for (const pending of batch) lane.fail(pending, error)
      return
    }
    assert(outcome.bodies.length === batch.length, 'every request of a batch has its answer')
    // Of a run in slices the first has told how long it waited.
    if (batch[0]?.slices === 0) lane.options.observer.queuedBatch(waitUs)
    lane.options.observer.batch(batch.length, outcome.executeUs)
    if (outcome.reroutes !== undefined) {
      const [first] = batch
      if (outcome.returned !== undefined && first?.open === true) first.body = outcome.returned
      for (const reroute of outcome.reroutes) this.#sendOn(lane, batch[reroute.index], reroute)
    }
    if (outcome.failures !== null) {
      for (const failure of outcome.failures) {
        const pending = batch[failure.index]
        if (pending !== undefined) lane.fail(pending, errorOfRow(failure))
      }
    }
    if (outcome.raw !== undefined) {
      for (const raw of outcome.raw) {
        const pending = batch[raw.index]
        if (pending !== undefined) lane.answerRaw(pending, raw)
      }
    }
    lane.answer(batch, outcome.bodies)
  }

  /** Another lane gets the request, or its caller an error. */
  #sendOn(lane: Lane, pending: Pending | undefined, reroute: Reroute): void {
    if (pending?.wanted !== true) {
      if (pending !== undefined) lane.settle(pending)
      return
    }
    const isExplained = reroute.kind === 'explain'
    if (isExplained ? lane.options.verb === 'explain' : pending.isSent) {
      this.#options.logger.error(
        { lane: lane.options.name, reroute: reroute.kind },
        'sent on twice',
      )
      lane.fail(pending, new AppError('ERR_INTERNAL'))
      return
    }
    const state = isExplained ? reroute.state : undefined
    const move = (to: Whereto): void => this.#move(lane, pending, to, state)
    const whereto = lane.options.whereTo(reroute, pending)
    if (whereto instanceof Promise) void whereto.catch(toAppError).then(move)
    else move(whereto)
  }

  #move(lane: Lane, pending: Pending, to: Whereto, state: unknown): void {
    // The caller may have left, or its time may be up, while a token was looked at.
    if (!pending.wanted) {
      lane.settle(pending)
      return
    }
    const error = to instanceof AppError ? to : lane.sendOn(pending, to, state)
    if (error !== null) lane.fail(pending, error)
    else if (!(to instanceof AppError)) this.wake(to)
  }

  /** One slice of a run is done; the next comes when it is the lane's turn again. */
  #goOn(
    { lane, batch }: Run,
    { state, executeUs }: Extract<WorkerOutcome, { kind: 'continues' }>,
    waitUs: Uint32Array,
  ): void {
    const [pending] = batch
    assert(pending !== undefined && batch.length === 1, 'what runs in slices runs alone')
    const { observer } = lane.options
    if (pending.slices === 0) observer.queuedBatch(waitUs)
    observer.batch(0, executeUs)
    pending.slices += 1
    if (!pending.wanted) {
      lane.settle(pending)
    } else if (lane.isLate(pending)) {
      lane.failLate(pending)
    } else {
      const refusal = lane.putBack(pending, state)
      if (refusal !== null) lane.fail(pending, refusal)
      else this.wake(lane)
    }
  }

  #watch(lane: Lane): void {
    lane.watched = true
    this.#watched.add(lane)
    this.#tick ??= setInterval(this.#onTick, TICK_MS)
  }

  /** One tick looks at the heads of all lanes: a timer per request would cost more than its run. */
  readonly #onTick = (): void => {
    for (const lane of this.#watched) {
      if (lane.expire()) continue
      lane.watched = false
      this.#watched.delete(lane)
      if (lane.waiting === 0) this.#forgetIfEmpty(lane)
    }
    for (const run of this.#running) this.#checkAge(run)
    if (this.#watched.size === 0 && this.#running.size === 0 && this.#tick !== null) {
      clearInterval(this.#tick)
      this.#tick = null
    }
  }

  /**
   * A long run gives its permit back, so that other services go on; a hung one loses its thread.
   */
  #checkAge(run: Run): void {
    const ageMs = nowMs() - run.startMs
    if (run.holdsPermit && ageMs > LIMITS.permitMs) {
      run.holdsPermit = false
      this.#permits += 1
      this.#turn()
    }
    if (!run.hung && ageMs > Math.max(this.#options.hangMs, run.lane.options.legalMs)) {
      run.hung = true
      run.lane.options.onHang()
    }
  }
}

/**
 * The lane whose turn it is. Lanes in debt wait until the others have used as much; when all are
 * in debt everyone gets the same number of quanta.
 */
export function pick(lanes: readonly Lane[]): Lane | null {
  const most = Math.max(...lanes.map((lane) => lane.creditUs))
  if (most <= 0) {
    const quanta = Math.floor(-most / QUANTUM_US) + 1
    for (const lane of lanes) lane.creditUs += quanta * QUANTUM_US
  }
  const inCredit = lanes.filter((lane) => lane.creditUs > 0)
  const first = (verb: Verb) => inCredit.find((lane) => lane.options.verb === verb)
  return first('single') ?? first('multi') ?? inCredit[0] ?? null
}

/** A thread is free for it; of what runs in slices, one request at a time. */
function isAble(lane: Lane): boolean {
  const { verb } = lane.options
  return lane.runner.freeThreads > 0 && (verb !== 'explain' || lane.runs === 0)
}

async function runSafely(runner: BatchRunner, batch: PackedBatch): Promise<WorkerOutcome> {
  try {
    return await runner.run(batch)
  } catch (error) {
    return { kind: 'failed', code: 'ERR_WORKER_LOST', detail: messageOf(error) }
  }
}

/** Noted before a thread can get the batch: it may end the process in its first microsecond. */
async function runNoted(
  witness: RunWitness,
  lane: Lane,
  batch: PackedBatch,
): Promise<WorkerOutcome> {
  const record = witness.enter(lane.options.subject)
  try {
    return await runSafely(lane.runner, batch)
  } finally {
    witness.leave(record)
  }
}

/** A status that code of a bundle has chosen must be one of a failure. */
function errorOfRow({ code, detail, status }: RowFailure): AppError {
  const said = detail === '' ? null : detail
  if (status === undefined) return new AppError(code, said)
  return new AppError(code, said, [], isStatus(status, 400) ? status : 500)
}

function errorOf(outcome: Exclude<WorkerOutcome, { kind: 'answers' }>): AppError {
  return outcome.kind === 'failed'
    ? new AppError(outcome.code, outcome.detail)
    : new AppError('ERR_INTERNAL')
}
