/**
 * Starts the child that opens stores which may be damaged, and makes an answer of whatever becomes
 * of it: a crash, an exit code and a wait without end are answers too. Being killed by the kernel
 * or by an operator is none: a good store must not be given up for that.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { messageOf } from '../../core/base/errors.ts'
import { isObject } from '../../core/base/json.ts'
import type { Building } from './build.ts'
import { type Totals, totalsOf } from './totals.ts'

const ENTRY = fileURLToPath(new URL('./store-main.js', import.meta.url))
const LIMIT_MS = 30_000
/** Slower than any disk that a node can work with. */
const BYTES_PER_MS = 10_000
/** Of what the child says: its answer, or its last words, e.g. an assertion of LMDB. */
const SAID_CHARS_MAX = 64 * 1024

export type StoreTask =
  | {
      readonly kind: 'walk'
      readonly directory: string
      /** A directory that does not exist, for a copy to write in; null: there is no space. */
      readonly trial: string | null
    }
  | ({ readonly kind: 'build' } & Building)

export type StoreAnswer =
  | { readonly kind: 'ok'; readonly isEmpty: boolean; readonly totals: Totals }
  | { readonly kind: 'damaged'; readonly reason: string }
  /** No child could be started or live, or a later version wrote it: nothing is known. */
  | { readonly kind: 'unknown'; readonly reason: string }

type Ended =
  | StoreAnswer
  /** It died of what it read, or did not come to an end in its time. */
  | { readonly kind: 'dead'; readonly reason: string }
  /** By somebody else, which says nothing about the store. */
  | { readonly kind: 'killed' }

const KILLED =
  'the process that reads it is killed from outside, most likely for want of memory; ' +
  'free some and start again'
/** Whatever ends it twice is no accident. */
const TIMES = 2

/**
 * `bytes`: of the data that it has to read. Never throws.
 *
 * A store over which a child dies twice, or which it cannot read in its time, counts as damaged:
 * the time grows with the data, and no disk that a node can work with is that slow.
 */
export async function askStoreChild(
  task: StoreTask,
  bytes: number,
  limitMs: number = LIMIT_MS,
): Promise<StoreAnswer> {
  const timeMs = limitMs + Math.ceil(bytes / BYTES_PER_MS)
  let [deaths, kills] = [0, 0]
  for (;;) {
    const ended = await ask(task, timeMs)
    if (ended.kind === 'dead') {
      deaths += 1
      if (deaths === TIMES) return { kind: 'damaged', reason: ended.reason }
    } else if (ended.kind === 'killed') {
      kills += 1
      if (kills === TIMES) return { kind: 'unknown', reason: KILLED }
    } else return ended
  }
}

async function ask(task: StoreTask, timeMs: number): Promise<Ended> {
  let timer: NodeJS.Timeout | null = null
  try {
    const child = start(task)
    let isLate = false
    timer = setTimeout(() => {
      isLate = true
      child.kill('SIGKILL')
    }, timeMs)
    const said = collect(child.stdout)
    const complaint = collect(child.stderr)
    const [code, signal] = await once(child, 'close')
    if (code === 0) return answerOf(said())
    if (signal === 'SIGKILL' && !isLate) return { kind: 'killed' }
    const how = isLate ? 'does not come to an end' : `ends with ${signal ?? code}`
    const [first = ''] = complaint().trim().split('\n')
    return { kind: 'dead', reason: `reading it ${how}${first === '' ? '' : `: ${first}`}` }
  } catch (error) {
    return { kind: 'unknown', reason: `no process can be started: ${messageOf(error)}` }
  } finally {
    if (timer !== null) clearTimeout(timer)
  }
}

/** Some failures throw here, others come as an event; with too many files open it has no pipes. */
function start(task: StoreTask): ChildProcess {
  return spawn(process.execPath, [ENTRY, JSON.stringify(task)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

function collect(stream: Readable | null): () => string {
  let text = ''
  stream?.setEncoding('utf8').on('data', (piece: string) => {
    if (text.length < SAID_CHARS_MAX) text += piece
  })
  return () => text
}

function answerOf(line: string): Ended {
  try {
    const value: unknown = JSON.parse(line)
    if (isObject(value)) {
      const { kind } = value
      if (kind === 'damaged' || kind === 'unknown') return { kind, reason: String(value['reason']) }
      const totals = totalsOf(value['totals'])
      if (totals !== null) return { kind: 'ok', isEmpty: value['isEmpty'] === true, totals }
    }
  } catch {
    // Fall through: it said something else than an answer.
  }
  return { kind: 'dead', reason: 'reading it ends without an answer' }
}
