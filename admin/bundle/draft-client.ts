/**
 * Asks a draft child about one file, under limits of time and memory. Whatever the file does to the
 * child becomes a refusal with a sentence that says what it was doing.
 */

import type { ChildProcess } from 'node:child_process'
import { AppError, messageOf } from '../../core/base/errors.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { Draft, DraftMessage, DraftRequest } from '../../workers/protocol.ts'
import { killGroup, watchMemory } from './child-limits.ts'
import { type ChildTools, startLimited } from './limited-child.ts'
import { StderrTail } from './stderr-tail.ts'

const GIB = 1024 ** 3

export interface DraftOptions {
  readonly tools: ChildTools
  /** Absolute path of the compiled workers/drafts/main.ts. */
  readonly entry: string
  /** What the file is called in sentences. */
  readonly subject: string
  /** Size of what is read. */
  readonly bytes: number
  /** Least address space, and time beside what the size adds. */
  readonly memoryBytesMin: number
  readonly timeMs: number
  readonly onProgress: (label: string, done: number | null) => void
}

/** Throws an AppError that says why there is none. */
export async function askDraft<Kind extends Draft['kind']>(
  request: Extract<DraftRequest, { kind: Kind }>,
  options: DraftOptions,
): Promise<Extract<Draft, { kind: Kind }>> {
  const draft = await runDraft(request, options)
  if (isOf(draft, request.kind)) return draft
  throw new AppError('ERR_INTERNAL', `a draft of ${request.kind} became one of ${draft.kind}`)
}

function isOf<Kind extends Draft['kind']>(
  draft: Draft,
  kind: Kind,
): draft is Extract<Draft, { kind: Kind }> {
  return draft.kind === kind
}

/** What is known when the child ends. */
interface Run {
  label: string
  answer: Exclude<DraftMessage, { kind: 'progress' }> | null
  /** Why it was ended; null: it was not. */
  ended: 'over time' | 'over memory' | null
  readonly stderr: StderrTail
}

function runDraft(request: DraftRequest, options: DraftOptions): Promise<Draft> {
  const { tools, entry, bytes, timeMs, memoryBytesMin } = options
  const limitMs = timeMs + (1000 * bytes) / LIMITS.forgeBytesPerS
  const memoryBytes = Math.max(memoryBytesMin, 4 * bytes + 2 * GIB)
  const run: Run = { label: '', answer: null, ended: null, stderr: new StderrTail([]) }
  return new Promise((resolve, reject) => {
    const child = startLimited(entry, { memoryBytes, cpuMs: limitMs }, tools)
    const stop = limit(child, { limitMs, memoryBytes, polls: tools.prlimit === null }, run)
    child.on('message', (message: DraftMessage) => {
      if (message.kind === 'progress') {
        run.label = message.label
        options.onProgress(message.label, message.done)
      } else run.answer = message
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => run.stderr.add(text))
    const end = (how: string): void => {
      stop()
      killGroup(child)
      const { answer } = run
      if (answer?.kind === 'drafted') resolve(answer.draft)
      else if (answer !== null) reject(refusalOf(answer))
      else reject(verdict(options.subject, run, { how, limitMs, memoryBytes }))
    }
    child.on('error', (error) => {
      if (child.pid === undefined) end(messageOf(error))
    })
    // Its pipes are read to their end: the answer may still be in them.
    child.once('close', (code, signal) => end(signal ?? `code ${code}`))
    if (child.pid !== undefined) child.send(request, () => {})
  })
}

interface Bounds {
  readonly limitMs: number
  readonly memoryBytes: number
  readonly polls: boolean
}

/** Returns what ends the watch. */
function limit(child: ChildProcess, { limitMs, memoryBytes, polls }: Bounds, run: Run): () => void {
  const over = (why: 'over time' | 'over memory'): void => {
    run.ended = why
    killGroup(child)
  }
  const timer = setTimeout(() => over('over time'), limitMs)
  const unwatch = polls ? watchMemory(child, memoryBytes, () => over('over memory')) : () => {}
  return () => {
    clearTimeout(timer)
    unwatch()
  }
}

function refusalOf({ code, reasons }: Extract<DraftMessage, { kind: 'refused' }>): AppError {
  const [first = ''] = reasons
  const faults = reasons.map((reason) => ({ path: '', reason }))
  const line = reasons.length > 1 ? `${reasons.length} things are wrong:` : first
  return new AppError(code, line, faults)
}

interface End {
  readonly how: string
  readonly limitMs: number
  readonly memoryBytes: number
}

/** What to say of a child that ended without an answer. */
function verdict(subject: string, run: Run, { how, limitMs, memoryBytes }: End): AppError {
  const who = `the process that looked into ${subject}`
  const when = run.label === '' ? 'before it began' : `while ${run.label}`
  if (run.ended === 'over time' || how === 'SIGXCPU') {
    const seconds = Math.round(limitMs / 100) / 10
    const reason = `${who} did not finish within ${seconds} s: ended ${when}`
    return new AppError('ERR_MODEL_LIMITS', reason)
  }
  if (run.ended === 'over memory' || run.stderr.saysOutOfMemory()) {
    const gib = (memoryBytes / GIB).toFixed(1)
    return new AppError('ERR_MODEL_LIMITS', `${who} needs more than ${gib} GiB: ended ${when}`)
  }
  const last = run.stderr.lastLine()
  const words = last === '' ? '' : `; its last words: ${last}`
  const ended = how === 'SIGABRT' ? 'aborted' : 'ended'
  return new AppError('ERR_MODEL_REFUSED', `${who} ${ended} (${how}) ${when}${words}`)
}
