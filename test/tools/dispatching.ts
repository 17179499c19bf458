/** Lanes whose runs a test finishes by hand, and callers that remember what they were told. */

import { AppError } from '../../core/base/errors.ts'
import { SILENT } from '../../core/base/logger.ts'
import type { PackedBatch } from '../../core/dispatch/batch.ts'
import { type BatchRunner, Lane, type LaneOptions } from '../../core/dispatch/lane.ts'
import { type Caller, Pending } from '../../core/dispatch/pending.ts'
import { Scheduler, type SchedulerOptions } from '../../core/dispatch/scheduler.ts'
import type { BatchJob, RawAnswer, RowFailure, WorkerOutcome } from '../../workers/protocol.ts'

export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** One turn of the event loop, and what it started. */
export async function turn(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise<void>((resolve) => setImmediate(resolve))
}

export function bodyOf(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text))
}

/** Throws what the lane refuses with. */
export function accept(lane: Lane, asker: Asker, body = 'x'): Pending {
  const entered = lane.enter(asker, bodyOf(body))
  if (entered instanceof Pending) return entered
  throw entered
}

/** The code that the next request gets, or that it is accepted. */
export function refusalOf(lane: Lane, body = 'x'): string {
  const entered = lane.enter(new Asker(), bodyOf(body))
  return entered instanceof Pending ? 'accepted' : entered.code
}

export class Asker implements Caller {
  readonly answers: (string | Uint8Array)[] = []
  readonly raws: RawAnswer[] = []
  readonly errors: AppError[] = []
  readonly bornMs = performance.now()
  endedMs = 0
  /** Set by the test: the caller has gone. Set here: it was answered. */
  done = false

  get replies(): number {
    return this.answers.length + this.raws.length + this.errors.length
  }

  /** Gone before any reply. */
  get left(): boolean {
    return this.done && this.endedMs === 0
  }

  replyJson(json: string | Uint8Array): void {
    this.answers.push(json)
    this.#end()
  }

  replyRaw(answer: RawAnswer): void {
    this.raws.push(answer)
    this.#end()
  }

  replyError(error: AppError): void {
    this.errors.push(error)
    this.#end()
  }

  #end(): void {
    this.done = true
    this.endedMs = performance.now()
  }
}

interface Call {
  readonly job: BatchJob
  readonly resolve: (outcome: WorkerOutcome) => void
  readonly reject: (error: Error) => void
  open: boolean
}

/** Answers each body with itself as a JSON text, when the test says so. */
export class Runner implements BatchRunner {
  readonly calls: Call[] = []
  readonly #threads: number
  #automatic = false

  constructor(threads: number) {
    this.#threads = threads
  }

  get open(): number {
    return this.calls.filter((call) => call.open).length
  }

  get freeThreads(): number {
    return this.#threads - this.open
  }

  run(batch: PackedBatch): Promise<WorkerOutcome> {
    return new Promise((resolve, reject) => {
      const job = batch.toJob()
      if (this.freeThreads <= 0) throw new Error('a batch for a thread that is not free')
      this.calls.push({ job, resolve, reject, open: true })
      if (this.#automatic) setImmediate(() => this.finish(this.calls.length - 1))
    })
  }

  /** Index of one of the open runs, null when there is none. */
  openRun(which: number): number | null {
    const open = this.calls.flatMap((call, index) => (call.open ? [index] : []))
    return open[which % Math.max(1, open.length)] ?? null
  }

  bodies(index: number): string[] {
    const { bytes, ends } = this.#call(index).job
    const text = Buffer.from(bytes)
    return Array.from(ends, (end, i) => text.toString('utf8', i === 0 ? 0 : ends[i - 1], end))
  }

  finish(index: number, failures: RowFailure[] | null = null): void {
    const bodies = this.bodies(index).map((body) => JSON.stringify(body))
    for (const failure of failures ?? []) bodies[failure.index] = ''
    this.finishWith(index, { kind: 'answers', bodies, failures, executeUs: 1 })
  }

  finishWith(index: number, outcome: WorkerOutcome): void {
    this.#end(index).resolve(outcome)
  }

  failFirst(index: number): void {
    this.finish(index, [{ index: 0, code: 'ERR_FEATURE_INVALID', detail: 'x' }])
  }

  crash(index: number): void {
    this.#end(index).reject(new Error('the thread is gone'))
  }

  /** Finishes what runs and what will run. */
  finishAll(): void {
    this.#automatic = true
    for (const [index, call] of this.calls.entries()) if (call.open) this.finish(index)
  }

  #end(index: number): Call {
    const call = this.#call(index)
    call.open = false
    return call
  }

  #call(index: number): Call {
    const call = this.calls[index]
    if (call === undefined) throw new Error(`there is no run ${index}`)
    return call
  }
}

export interface Side {
  readonly lane: Lane
  readonly runner: Runner
  readonly scheduler: Scheduler
  answered(): number
  settled(): number
  /** Requests that came from other lanes. */
  sentHere(): number
  hangs(): number
  hangsEnded(): number
  /** Lets all runs end, now and later. */
  finishAll(): void
  /** Another lane under the same scheduler, by default with a runner of its own. */
  another(given: Partial<LaneOptions> & { readonly runner?: Runner }): Side
}

type Given = Partial<LaneOptions> & { readonly runner?: Runner }

/** A lane with a runner of `threads`; everything ends with the test. */
export function setUp(
  t: { teardown(callback: () => void): void },
  given: Given,
  of: Partial<SchedulerOptions> = {},
  threads = 1,
): Side {
  const scheduler = new Scheduler({
    permits: 8,
    hangMs: 60_000,
    logger: SILENT,
    witness: null,
    ...of,
  })
  const sides: Side[] = []
  t.teardown(() => {
    for (const side of sides) side.finishAll()
  })
  const make = (options: Given): Side => {
    const side = newSide(scheduler, options, threads, make)
    sides.push(side)
    return side
  }
  return make(given)
}

function newSide(
  scheduler: Scheduler,
  given: Given,
  threads: number,
  another: (options: Given) => Side,
): Side {
  const runner = given.runner ?? new Runner(threads)
  const counts = { answered: 0, settled: 0, sentHere: 0, hangs: 0, hangsEnded: 0 }
  const lane = new Lane({
    name: 'svc/g/score (single)',
    subject: 'svc/g/score',
    endpoint: 0,
    verb: 'single',
    batchMax: 64,
    cost: { fixedUs: 0, perRowUs: 0 },
    serial: false,
    requestsMax: 1_024,
    bytesMax: 1_000_000,
    timeoutMs: 10_000,
    legalMs: 0,
    permit: true,
    witnessed: true,
    borrows: false,
    wantsRequest: false,
    observer: {
      answered: () => {
        counts.answered += 1
      },
      queuedBatch: () => {},
      batch: () => {},
    },
    onSettled: () => {
      counts.settled += 1
    },
    onSentHere: () => {
      counts.sentHere += 1
    },
    whereTo: () => new AppError('ERR_INTERNAL', 'no lane was given'),
    onHang: () => {
      counts.hangs += 1
    },
    onHangEnded: () => {
      counts.hangsEnded += 1
    },
    ...given,
    runner,
  })
  return {
    lane,
    runner,
    scheduler,
    answered: () => counts.answered,
    settled: () => counts.settled,
    sentHere: () => counts.sentHere,
    hangs: () => counts.hangs,
    hangsEnded: () => counts.hangsEnded,
    finishAll: () => runner.finishAll(),
    another,
  }
}
