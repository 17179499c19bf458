/** One child of a crew: its start, one call at a time with a deadline, and its end. */

import { AppError, messageOf } from '../../core/base/errors.ts'
import type { ChildSpec } from '../../core/children/spec.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { RuntimeLog } from '../runtime.ts'
import type { ChildHost, RunningChild } from './child-host.ts'
import { Output } from './output.ts'

/** How long a lost child may take to end by itself, so that callers are told how it did. */
const FAREWELL_MS = 100
/** The longest that a timer can wait. */
const TIMER_MS_MAX = 2 ** 31 - 1

/** How a kind of endpoint speaks to its children. */
export interface Dialect<Call, Reply> {
  /** Asks a child to end the running call. */
  readonly interruptSignal: 'SIGUSR1' | 'SIGINT'
  /** Before each start; whatever a child needs of its own, such as a token, is made here. */
  prepare(): Opening<Call, Reply> | Promise<Opening<Call, Reply>>
}

export interface Opening<Call, Reply> {
  readonly spec: ChildSpec
  /**
   * Settles when the child can be called. May reject with an AppError (ERR_CODE_REFUSED) whose
   * detail says what the code did wrong; the child is killed then.
   */
  open(child: RunningChild): Promise<Session<Call, Reply>>
  /** Gives back what prepare() took, once the child has ended or could not be started. */
  close?(): void
}

export interface Session<Call, Reply> {
  /** For people: `Python 3.11.2`. */
  readonly program: string
  /** Settles when the child cannot be called any more: `ended` of its FrameChannel. */
  readonly ended: Promise<unknown>
  /**
   * One at a time. What the code of the endpoint does wrong is a reply like any other; a rejection
   * means that the child is of no use, and it is replaced. ERR_DEADLINE is the exception: the call
   * was interrupted, and the child is well.
   */
  call(call: Call): Promise<Reply>
}

export interface MemberOptions<Call, Reply> {
  readonly dialect: Dialect<Call, Reply>
  readonly host: ChildHost
  readonly log: RuntimeLog
  readonly startMs: number
  /** Ends a start that nobody waits for any more. */
  readonly aborted: AbortSignal
}

interface Parts<Call, Reply> {
  readonly child: RunningChild
  readonly session: Session<Call, Reply>
  readonly interruptSignal: 'SIGUSR1' | 'SIGINT'
}

export class Member<Call, Reply> {
  readonly #parts: Parts<Call, Reply>
  readonly program: string
  readonly exited: Promise<string>
  /** Settles when it can no longer be called. */
  readonly lost: Promise<string>
  #lose: (how: string) => void = () => {}
  #how: string | null = null
  #isLost = false
  #isBusy = false
  #isLate = false
  #timer: NodeJS.Timeout | undefined
  #reject: (error: AppError) => void = () => {}

  private constructor(parts: Parts<Call, Reply>) {
    this.#parts = parts
    this.program = parts.session.program
    this.exited = parts.child.exited
    this.lost = new Promise((resolve) => {
      this.#lose = resolve
    })
    void parts.child.exited.then((how) => {
      this.#how = how
      this.#end()
      // Whoever inherited its connection may hold it open.
      this.#reject(new AppError('ERR_CHILD_LOST'))
    })
    void parts.session.ended.then(() => this.#end())
  }

  static async start<Call, Reply>(
    options: MemberOptions<Call, Reply>,
  ): Promise<Member<Call, Reply>> {
    const { dialect, host, log, startMs, aborted } = options
    const opening = await dialect.prepare()
    const child = await started(host, opening)
    const kill = (): void => child.kill()
    if (aborted.aborted) kill()
    aborted.addEventListener('abort', kill)
    try {
      const output = new Output({ stream: child.output, child: opening.spec.name, log })
      const session = await opened(opening, child, { output, startMs })
      return new Member({ child, session, interruptSignal: dialect.interruptSignal })
    } finally {
      aborted.removeEventListener('abort', kill)
    }
  }

  get isLost(): boolean {
    return this.#isLost
  }

  get isBusy(): boolean {
    return this.#isBusy
  }

  /** For the log; what it printed is there already. */
  farewell(): string {
    return endText(this.#how)
  }

  kill(): void {
    this.#parts.child.kill()
  }

  async run(call: Call, deadlineMs: number): Promise<Reply> {
    if (this.#isLost) throw await this.#lostError()
    this.#isBusy = true
    this.#isLate = false
    this.#timer = setTimeout(() => this.#interrupt(), bounded(deadlineMs))
    try {
      return await new Promise<Reply>((resolve, reject) => {
        this.#reject = reject
        this.#parts.session.call(call).then(resolve, reject)
      })
    } catch (error) {
      throw await this.#failed(error)
    } finally {
      clearTimeout(this.#timer)
      this.#isBusy = false
    }
  }

  async #failed(error: unknown): Promise<AppError> {
    const known = error instanceof AppError ? error : null
    if (known?.code === 'ERR_DEADLINE') return known
    // What a broken child answers to the next call nobody knows, so there is none.
    this.#end()
    if (this.#isLate) return new AppError('ERR_DEADLINE')
    if (known === null || known.code === 'ERR_CHILD_LOST') return this.#lostError()
    this.kill()
    return known
  }

  #interrupt(): void {
    const { child, interruptSignal } = this.#parts
    this.#isLate = true
    child.interrupt(interruptSignal)
    this.#timer = setTimeout(() => child.kill(), LIMITS.childGraceMs)
  }

  #end(): void {
    if (this.#isLost) return
    this.#isLost = true
    this.#lose(this.#how ?? 'it closed its connection')
    void within(this.exited, FAREWELL_MS).then((how) => {
      if (how === null) this.kill()
    })
  }

  async #lostError(): Promise<AppError> {
    const how = await within(this.exited, FAREWELL_MS)
    return new AppError('ERR_CHILD_LOST', how === null ? null : endText(how))
  }
}

/** Time that is over is no time, and time without end is as long as a timer can wait. */
export function bounded(ms: number): number {
  return Math.min(Math.max(0, ms), TIMER_MS_MAX)
}

async function started<Call, Reply>(
  host: ChildHost,
  opening: Opening<Call, Reply>,
): Promise<RunningChild> {
  const { spec } = opening
  try {
    const child = await host.start(spec)
    void child.exited.then(() => opening.close?.())
    return child
  } catch (error) {
    opening.close?.()
    throw new AppError('ERR_LOAD_FAILED', `${spec.program}: ${messageOf(error)}`)
  }
}

interface Start {
  readonly output: Output
  readonly startMs: number
}

/** Whatever comes first: it is ready, it has ended, or its time is over. */
async function opened<Call, Reply>(
  opening: Opening<Call, Reply>,
  child: RunningChild,
  { output, startMs }: Start,
): Promise<Session<Call, Reply>> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it was not ready after ${startMs} ms`)), startMs)
  })
  const ended = child.exited.then((how): never => {
    throw new AppError('ERR_CHILD_LOST', how)
  })
  try {
    const session = opening.open(child)
    // Lost races must not count as errors that nobody handles.
    for (const one of [session, ended, late]) one.catch(() => {})
    return await Promise.race([session, ended, late])
  } catch (error) {
    if (error instanceof AppError && error.code !== 'ERR_CHILD_LOST') {
      child.kill()
      await within(child.exited, FAREWELL_MS)
      throw error
    }
    // That its connection closed says less than how it ended and what it said last.
    const how = await within(child.exited, FAREWELL_MS)
    child.kill()
    await within(output.ended, FAREWELL_MS)
    const text = how === null ? messageOf(error) : endText(how)
    throw new AppError('ERR_CODE_REFUSED', [text, ...output.tail()].join('\n'))
  } finally {
    clearTimeout(timer)
  }
}

function endText(how: string | null): string {
  return how === null ? 'its process is lost' : `its process ended: ${how}`
}

/** Null: it did not settle in time. */
async function within<T>(promise: Promise<T>, ms: number): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), ms)
  })
  const first = await Promise.race([promise, late])
  clearTimeout(timer)
  return first
}
