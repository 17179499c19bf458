/**
 * LMDB environments of tables: the only file of this folder that imports lmdb, because what writes
 * and what reads them must agree in every flag.
 *
 * Keys are UTF-8 and values are rows as text. Rows are put in the order of their keys, which packs
 * the pages fully and touches each once: a third of the size and of the time of any other order.
 */

import { mkdirSync, mkdtempSync, rmSync, statfsSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { open, type RootDatabase } from 'lmdb'
import { assert } from '../../core/base/assert.ts'
import { AppError, messageOf } from '../../core/base/errors.ts'

/** Name that LMDB gives to the one file of an environment that holds data. */
export const DATA_FILE = 'data.mdb'
const LOCK_FILE = 'lock.mdb'

const COMMON = {
  cache: false,
  noSubdir: false,
  eventTurnBatching: false,
  overlappingSync: false,
} as const

/** Key and row as bytes that stay as they are until the next pair is asked for. */
export interface StoredRow {
  readonly key: Buffer
  readonly value: Buffer
}

/** A commit this often keeps what it holds in memory small. */
const ROWS_PER_COMMIT = 10_000

/** Rows must come in ascending order of their keys, each key once. Does not sync to disk. */
export async function writeEnvironment(
  directory: string,
  rows: Iterable<StoredRow>,
): Promise<number> {
  const env = open<Buffer, Buffer>({
    ...COMMON,
    path: directory,
    encoding: 'binary',
    noSync: true,
    keyEncoder: { writeKey: copyKey, readKey: () => Buffer.alloc(0) },
    // Known to lmdb, absent from its types; without it the files are readable for everyone.
    ...{ permissionsMode: 0o600 },
  })
  let written = 0
  try {
    const iterator = rows[Symbol.iterator]()
    for (let more = true; more; ) {
      // Of lmdb's ways to write only this one survives a full disk.
      const put = await env.childTransaction(() => putSome(env, iterator))
      written += put
      more = put === ROWS_PER_COMMIT
      await turn()
    }
    await env.flushed
  } catch (error) {
    throw await causeOf(error, directory)
  } finally {
    await env.close()
  }
  rmSync(join(directory, LOCK_FILE), { force: true })
  return written
}

/** A write that did not fit is told as a fault of the device; less than this is full. */
const FULL_BYTES = 16 * 1024 * 1024

/** What lmdb says of a failed commit is that there is a reason, which it tells elsewhere. */
async function causeOf(error: unknown, directory: string): Promise<unknown> {
  if (!(error instanceof Error) || !('commitError' in error)) return error
  try {
    await error.commitError
    return error
  } catch (cause) {
    const { bavail, bsize } = statfsSync(directory)
    const said = `the table could not be written: ${messageOf(cause)}`
    return bavail * bsize < FULL_BYTES ? new AppError('ERR_DISK_FULL', said) : new Error(said)
  }
}

function putSome(env: RootDatabase<Buffer, Buffer>, rows: Iterator<StoredRow>): number {
  for (let i = 0; i < ROWS_PER_COMMIT; i++) {
    const { value: row, done } = rows.next()
    if (done === true) return i
    const isPut = env.putSync(row.key, row.value, { append: true })
    assert(isPut, 'rows come in ascending order, each key once')
  }
  return ROWS_PER_COMMIT
}

function copyKey(key: Buffer, target: Buffer, start: number): number {
  target.set(key, start)
  return start + key.length
}

/** One thread's view of an environment that nobody writes. */
export interface TableEnvironment {
  /** The row as it was stored. */
  get(key: string): string | undefined
  close(): Promise<void>
}

/**
 * LMDB wants a lock file beside the data even for reading, and the files of a generation never
 * change: so it is given a private folder that links to the data, which it needs only while it
 * opens.
 */
export function openEnvironment(directory: string, runDirectory: string): TableEnvironment {
  mkdirSync(runDirectory, { recursive: true, mode: 0o700 })
  const folder = mkdtempSync(join(runDirectory, 'table-'))
  try {
    symlinkSync(join(directory, DATA_FILE), join(folder, DATA_FILE))
    const env = open<string, string>({
      ...COMMON,
      path: folder,
      encoding: 'string',
      readOnly: true,
      keyEncoder: { writeKey, readKey: () => '' },
    })
    return { get: (key) => env.get(key), close: () => env.close() }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** UTF-8; most keys are short and ASCII, for which a call out of JavaScript costs more. */
function writeKey(key: string, target: Buffer, start: number): number {
  let at = start
  for (let i = 0; i < key.length; i++) {
    const code = key.charCodeAt(i)
    if (code >= 0x80 || i === 64) return start + target.write(key, start, 'utf8')
    target[at++] = code
  }
  return at
}
