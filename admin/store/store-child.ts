/**
 * Starts the child that opens stores which may be damaged, and makes an answer of whatever becomes
 * of it: a crash, an exit code and a wait without end are answers too.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { messageOf } from '../../core/base/errors.ts'
import { isObject } from '../../core/base/json.ts'
import type { Building } from './build.ts'
import { type Totals, totalsOf } from './totals.ts'

const ENTRY = fileURLToPath(new URL('./store-main.js', import.meta.url))
const LIMIT_MS = 30_000
/** Slower than any disk that a node can work with. */
const BYTES_PER_MS = 10_000
/** Of what the child says when it dies, e.g. an assertion of LMDB. */
const STDERR_CHARS_MAX = 2_000

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
  /** No child could be started, or a later version wrote it: nothing is known. */
  | { readonly kind: 'unknown'; readonly reason: string }

type Ended = StoreAnswer | { readonly kind: 'dead'; readonly reason: string }

/** `bytes`: of the data that it has to read. Never throws. */
export async function askStoreChild(task: StoreTask, bytes: number): Promise<StoreAnswer> {
  const first = await ask(task, bytes)
  if (first.kind !== 'dead') return first
  // It may have been killed by somebody; a file that is damaged kills every one.
  const second = await ask(task, bytes)
  return second.kind === 'dead' ? { kind: 'damaged', reason: second.reason } : second
}

async function ask(task: StoreTask, bytes: number): Promise<Ended> {
  const child = spawn(process.execPath, [ENTRY, JSON.stringify(task)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LIMIT_MS + Math.ceil(bytes / BYTES_PER_MS),
    killSignal: 'SIGKILL',
  })
  let said = ''
  let complaint = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(0, STDERR_CHARS_MAX)
  })
  try {
    const [code, signal] = await once(child, 'close')
    if (code === 0) return answerOf(said)
    const how = signal === 'SIGKILL' ? 'does not come to an end' : `ends with ${signal ?? code}`
    const [first = ''] = complaint.trim().split('\n')
    return { kind: 'dead', reason: `reading it ${how}${first === '' ? '' : `: ${first}`}` }
  } catch (error) {
    return { kind: 'unknown', reason: messageOf(error) }
  }
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
