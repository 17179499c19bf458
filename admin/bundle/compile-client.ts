/**
 * Has one model compiled by a child process of its own, apart from the one that checks a bundle:
 * compiling needs far more memory, and when it ends its process the bundle is as good as it was.
 * Whatever happens becomes a reason why the original is to serve.
 */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../../core/base/errors.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { RuntimeSettings } from '../../core/config/runtimes.ts'
import type { CompileMessage, CompileRequest, CompileStep } from '../../workers/protocol.ts'
import type { CompileOutcome, CompileTask } from '../contracts.ts'
import { killGroup, watchMemory } from './child-limits.ts'
import { type ChildTools, startLimited } from './limited-child.ts'
import { StderrTail } from './stderr-tail.ts'

const GIB = 1024 ** 3
/** Measured: 2.7 times the model resident, and both forms are mapped beside that. */
const MEMORY_FACTOR = 10
/** Longest wait for the pipes of a child that has ended. */
const PIPES_MS = 1_000

export interface CompilerOptions extends ChildTools {
  /** Absolute path of the compiled workers/compile/main.ts. */
  readonly entry: string
  readonly memoryBytesMin: number
  /** Time beside what the size of the model adds. */
  readonly timeMs: number
  readonly runtimes: RuntimeSettings
}

export interface Compiler {
  /** Never throws. */
  compile(task: CompileTask): Promise<CompileOutcome>
  /** Ends what runs, at once. */
  close(): void
}

export function createCompiler(options: CompilerOptions): Compiler {
  const running = new Set<ChildProcess>()
  let closed = false
  return {
    async compile(task) {
      if (closed) return STOPPED
      try {
        const outcome = await compileOne(options, task, running)
        return closed ? STOPPED : outcome
      } catch (error) {
        return passing(`no process can be started to compile it: ${messageOf(error)}`)
      }
    },
    close() {
      closed = true
      for (const child of running) killGroup(child)
    },
  }
}

const STOPPED = passing('the node was stopped')

/** Another try may end otherwise. */
function passing(reason: string): CompileOutcome {
  return { kind: 'original', reason, lasting: false }
}

interface Run {
  step: CompileStep | null
  answer: CompileOutcome | null
  ended: 'over time' | 'over memory' | null
  readonly stderr: StderrTail
}

function compileOne(
  options: CompilerOptions,
  task: CompileTask,
  running: Set<ChildProcess>,
): Promise<CompileOutcome> {
  const { modelBytes, ...rest } = task
  const timeMs = options.timeMs + (1000 * modelBytes) / LIMITS.forgeBytesPerS
  const memoryBytes = Math.max(options.memoryBytesMin, MEMORY_FACTOR * modelBytes + 2 * GIB)
  const bounds = { memoryBytes, cpuMs: timeMs, fileBytes: task.bytesMax }
  const child = startLimited(options.entry, bounds, options)
  const stderr = new StderrTail([task.directory, task.folder])
  const run: Run = { step: null, answer: null, ended: null, stderr }
  const stop = (why: 'over time' | 'over memory'): void => {
    run.ended = why
    killGroup(child)
  }
  const timer = setTimeout(() => stop('over time'), timeMs)
  const stopWatching =
    options.prlimit === null
      ? watchMemory(child, memoryBytes, () => stop('over memory'))
      : (): void => {}
  const request: CompileRequest = { ...rest, settings: options.runtimes }
  return new Promise((resolve) => {
    running.add(child)
    const end = (how: string): void => {
      clearTimeout(timer)
      stopWatching()
      running.delete(child)
      resolve(run.answer ?? verdict(run, how, timeMs))
    }
    child.on('message', (message: CompileMessage) => {
      if (message.kind === 'step') run.step = message.step
      else run.answer = message
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => stderr.add(text))
    child.once('exit', (code, signal) => {
      killGroup(child)
      // The answer may still be in the pipes.
      void Promise.race([once(child, 'close'), sleep(PIPES_MS)]).then(() =>
        end(signal ?? `code ${code}`),
      )
    })
    child.on('error', (error) => {
      if (child.pid === undefined) end(messageOf(error))
    })
    if (child.pid !== undefined) child.send(request, () => {})
  })
}

/** What to say of a child that ended without an answer. */
function verdict({ step, ended, stderr }: Run, how: string, timeMs: number): CompileOutcome {
  const when = step === null ? 'before it began' : `while ${step}`
  if (ended === 'over time' || how === 'SIGXCPU') {
    return passing(`compiling did not end within ${Math.round(timeMs / 1000)} s: ended ${when}`)
  }
  if (ended === 'over memory' || stderr.saysOutOfMemory() || how === 'SIGKILL') {
    return passing(`compiling had not enough memory: ended ${when}`)
  }
  const reason = `the process that compiled it ended (${how}) ${when}`
  // No step: it never came to the model, so the model is not to blame.
  return step === null ? passing(reason) : { kind: 'original', reason, lasting: true }
}
