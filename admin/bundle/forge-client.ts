/**
 * Runs one bundle through a forge: a child process that may hang, abort or eat memory without
 * anyone else noticing.
 *
 * Whatever happens to it becomes a refusal with a sentence that says what it was doing.
 */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ErrorCode, messageOf } from '../../core/base/errors.ts'
import type { Logger } from '../../core/base/logger.ts'
import type { KnownIssuer } from '../../core/bundle/check-authorization.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { RuntimeSettings } from '../../core/config/runtimes.ts'
import type { ForgeMessage, ForgePhase, ForgeRequest } from '../../workers/protocol.ts'
import type { Forge, ForgeListener, ForgeOutcome } from '../contracts.ts'
import { killGroup, watchMemory } from './child-limits.ts'
import { removeSockets } from './forge-leftovers.ts'
import { type ChildTools, startLimited } from './limited-child.ts'
import { StderrTail } from './stderr-tail.ts'

const GIB = 1024 ** 3
/** A forge that has answered may take this long to end; its threads may still be inside a model. */
const END_MS = 2_000
/** The forge itself ends pip at its limit and says more than could be said here. */
const ENVIRONMENT_SPARE_MS = 30_000
/** Longest wait for the pipes of a child that has ended. */
const PIPES_MS = 1_000

export interface ForgeOptions extends ChildTools {
  /** Absolute path of the compiled workers/forge/main.ts. */
  readonly entry: string
  /** Least address space; large archives get more. */
  readonly memoryBytesMin: number
  /** Time beside what the size of the archive adds. */
  readonly timeMs: number
  readonly runtimes: RuntimeSettings
  /** Token issuers that bundles may refer to; null: any, it is not known which node it will be. */
  readonly issuers: readonly KnownIssuer[] | null
  readonly logger: Logger
}

/** Of the phases whose names say too little. */
const DOING: Partial<Record<ForgePhase, string>> = {
  environment: 'making the Python environment:',
  tables: 'making tables:',
}

interface Job {
  readonly request: ForgeRequest
  /** For a bundle of so many bytes; each half of the work, unpacking and trying, has it anew. */
  readonly timeMs: (bytes: number) => number
  readonly archiveBytes: number
  readonly memoryBytes: number
  readonly listener: ForgeListener
}

/** What is known of a run when its child ends. */
interface Run {
  phase: ForgePhase | null
  detail: string
  answer: ForgeOutcome | null
  /** How long the present half of the work may take. */
  limitMs: number
  /** Why the client ended it; null: it did not. */
  ended: 'over time' | 'over memory' | 'node stops' | null
  readonly stderr: StderrTail
}

export interface ClosableForge extends Forge {
  /** Ends what runs, at once; its bundles and all that follow are refused. */
  close(): void
}

export function createForge(options: ForgeOptions): ClosableForge {
  const running = new Map<ChildProcess, Run>()
  const { runtimes, issuers } = options
  let closed = false
  return {
    close() {
      closed = true
      for (const [child, run] of running) {
        run.ended = 'node stops'
        killGroup(child)
      }
    },
    async run(request, archiveBytes, listener) {
      if (closed) return refusal('ERR_STOPPING', 'the import was given up')
      const job: Job = {
        request: { ...request, settings: runtimes, ...(issuers === null ? {} : { issuers }) },
        listener,
        archiveBytes,
        timeMs: (bytes) => options.timeMs + (1000 * bytes) / LIMITS.forgeBytesPerS,
        memoryBytes: Math.max(options.memoryBytesMin, 4 * archiveBytes + 2 * GIB),
      }
      try {
        return await runOne(options, job, running)
      } catch (error) {
        // Most failures to start one are an event of the child; want of memory is thrown.
        const detail = `no process can be started to try the model: ${messageOf(error)}`
        options.logger.error({ err: error }, 'a forge could not be started')
        return refusal('ERR_INTERNAL', detail)
      }
    },
  }
}

function runOne(
  options: ForgeOptions,
  job: Job,
  running: Map<ChildProcess, Run>,
): Promise<ForgeOutcome> {
  const { archive, directory } = job.request
  const stderr = new StderrTail([archive, directory])
  const limitMs = job.timeMs(job.archiveBytes)
  const run: Run = { phase: null, detail: '', answer: null, limitMs, ended: null, stderr }
  const child = startForge(options, job)
  return new Promise((resolve) => {
    const limits = limit(options, job, child, run)
    running.set(child, run)
    const end = (how: string): void => {
      limits.stop()
      running.delete(child)
      const outcome = run.answer ?? verdict(job, run, how)
      logEnd(options.logger, job, outcome, how)
      resolve(outcome)
    }
    child.on('message', (message: ForgeMessage) => {
      if (message.kind === 'phase') limits.follow(message)
      receive(child, job, run, message)
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => stderr.add(text))
    child.once('exit', (code, signal) => {
      // What it started goes with it. The last words and the answer may still be in the pipes.
      killGroup(child)
      if (child.pid !== undefined) void removeSockets(options.runtimes.runDirectory, child.pid)
      void Promise.race([once(child, 'close'), sleep(PIPES_MS)]).then(() =>
        end(signal ?? `code ${code}`),
      )
    })
    child.on('error', (error) => {
      if (child.pid === undefined) end(messageOf(error))
    })
    // Without a process it has no channel either.
    if (child.pid !== undefined) child.send(job.request, () => {})
  })
}

function startForge(options: ForgeOptions, job: Job): ChildProcess {
  // For both halves, and for a bundle that unpacks to more than its archive.
  const cpuMs = 2 * job.timeMs(2 * job.archiveBytes)
  return startLimited(options.entry, { memoryBytes: job.memoryBytes, cpuMs }, options)
}

interface Limits {
  follow(message: Extract<ForgeMessage, { kind: 'phase' }>): void
  stop(): void
}

/** Time by a timer; memory by the kernel, or by looking where it cannot. */
function limit(options: ForgeOptions, job: Job, child: ChildProcess, run: Run): Limits {
  const over = (why: 'over time' | 'over memory'): void => {
    run.ended = why
    killGroup(child)
  }
  const arm = () => setTimeout(() => over('over time'), run.limitMs)
  let timer = arm()
  let bytes = job.archiveBytes
  let phase: ForgePhase | null = null
  const rearm = (limitMs = job.timeMs(bytes)): void => {
    clearTimeout(timer)
    run.limitMs = limitMs
    timer = arm()
  }
  const stopWatching =
    options.prlimit === null
      ? watchMemory(child, job.memoryBytes, () => over('over memory'))
      : (): void => {}
  return {
    follow({ phase: next, progress }) {
      const isNew = next !== phase
      const before = phase
      phase = next
      if (next === 'environment') {
        if (isNew) rearm(LIMITS.environmentMs + ENVIRONMENT_SPARE_MS)
      } else if (next === 'tables') {
        // Each table has its own time.
        if (progress !== null && progress.doneBytes === 0) rearm(job.timeMs(progress.totalBytes))
        else if (isNew) rearm()
      } else if (progress !== null && progress.totalBytes > bytes) {
        bytes = progress.totalBytes
        rearm()
      } else if (next === 'checking' || before === 'environment' || before === 'tables') rearm()
    },
    stop() {
      clearTimeout(timer)
      stopWatching()
    },
  }
}

function receive(child: ChildProcess, job: Job, run: Run, message: ForgeMessage): void {
  if (message.kind === 'phase') {
    run.phase = message.phase
    run.detail = message.detail
    job.listener.onPhase(message.phase, message.detail, message.progress)
    return
  }
  if (message.kind === 'named') {
    job.listener.onNamed(message.generationId)
    return
  }
  run.answer = message
  const timer = setTimeout(() => killGroup(child), END_MS)
  child.once('exit', () => clearTimeout(timer))
}

/** What to say of a forge that ended without an answer. */
function verdict(job: Job, run: Run, how: string): ForgeOutcome {
  const who = 'the process that tried the model'
  const doing = run.phase === null ? '' : (DOING[run.phase] ?? run.phase)
  const when = run.phase === null ? 'before it began' : `while ${doing} ${run.detail}`.trim()
  if (run.ended === 'node stops') return refusal('ERR_STOPPING', 'the import was given up')
  if (run.ended === 'over time' || how === 'SIGXCPU') {
    const seconds = Math.round(run.limitMs / 100) / 10
    return refusal('ERR_MODEL_LIMITS', `${who} did not finish within ${seconds} s: ended ${when}`)
  }
  if (run.ended === 'over memory' || run.stderr.saysOutOfMemory()) {
    const gib = (job.memoryBytes / GIB).toFixed(1)
    return refusal('ERR_MODEL_LIMITS', `${who} needs more than ${gib} GiB of memory: ended ${when}`)
  }
  if (how === 'SIGKILL') {
    const why = 'was killed by the system, most likely for want of memory,'
    const cure = '; with more memory free, import it again'
    return refusal('ERR_MODEL_LIMITS', `${who} ${why} ${when}${cure}`)
  }
  const last = run.stderr.lastLine()
  const words = last === '' ? '' : `; its last words: ${last}`
  const ended = how === 'SIGABRT' ? 'aborted' : 'ended'
  // No phase: it never came to the bundle, so the bundle is not to blame.
  const code = run.phase === null ? 'ERR_INTERNAL' : 'ERR_MODEL_REFUSED'
  return refusal(code, `${who} ${ended} (${how}) ${when}${words}`)
}

function refusal(code: ErrorCode, detail: string): ForgeOutcome {
  return { kind: 'refused', code, detail, faults: [] }
}

function logEnd(logger: Logger, job: Job, outcome: ForgeOutcome, how: string): void {
  const { serviceId, fileName } = job.request
  const fields = { serviceId, fileName, how }
  if (outcome.kind === 'forged') logger.info(fields, 'a bundle was forged')
  else
    logger.warn({ ...fields, code: outcome.code, detail: outcome.detail }, 'a bundle was refused')
}
