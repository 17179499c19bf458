/**
 * The text of a copy of the state that holds every change acknowledged until now.
 *
 * A living node makes one within a second after a change. Either it says that its newest copy holds
 * all (see state-copies.ts), or one appears that was made later than now. Without a living node the
 * store is read in a copy of its file: the data directory stays as it is to the last byte, for who
 * backs up before a new version may want to go back to the old one.
 *
 * A living node that makes none, as on a full disk, is when a back-up is wanted most. Its store is
 * read in the same way. What changed while its file was copied may have torn the copy, but every
 * value has its checksum and all of them their totals: the copy is whole, or is seen not to be.
 */

import { constants } from 'node:fs'
import { copyFile, mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { nowMs, wallMs } from '../../core/base/clock.ts'
import { AppError } from '../../core/base/errors.ts'
import { exists } from '../store/files.ts'
import { FREE_BYTES_MIN, LmdbStore } from '../store/lmdb-store.ts'
import { lockHolder, lockHome } from '../store/lock.ts'
import { currentMark } from '../store/state-copies.ts'
import { copiesFolder, copyPieces, findCopies } from '../store/state-copy.ts'
import { askStoreChild } from '../store/store-child.ts'
import { freeBytes, type StoreFile, storeFile } from '../store/store-files.ts'

const WAIT_MS = 10_000
/** A change takes milliseconds, so few copies of the file meet one, and hardly this many. */
const LIVE_COPIES_MAX = 6
const LIVE_EVERY_MS = 200
const LOOK_EVERY_MS = 50

export interface Reading {
  /** The data directory. */
  readonly root: string
  /** A directory to work in; does not exist, and does not afterwards. */
  readonly scratch: string
  readonly say: (line: string) => void
  /** For a copy that the node makes. */
  readonly waitMs?: number
}

export async function freshCopy(reading: Reading): Promise<string> {
  const { root, waitMs = WAIT_MS } = reading
  const sinceMs = wallMs()
  const endMs = nowMs() + waitMs
  while (nowMs() < endMs) {
    if ((await lockHolder(root)) === null) return copyOfStopped(reading)
    const isCurrent = await exists(currentMark(root))
    const { newest } = await findCopies(root)
    if (newest !== null && (isCurrent || newest.copy.savedOn > sinceMs)) {
      return readFile(join(copiesFolder(root), newest.name), 'utf8')
    }
    await sleep(LOOK_EVERY_MS)
  }
  const what = `the node has not copied its state for ${waitMs / 1000} s`
  reading.say(`${what}; its log and its health say why; its store is read instead`)
  return copyOfLiving(reading, what)
}

async function copyOfLiving({ root, scratch }: Reading, what: string): Promise<string> {
  let reason = ''
  for (let tried = 0; tried < LIVE_COPIES_MAX; tried += 1) {
    try {
      await mkdir(scratch, { mode: 0o700 })
      const verdict = await look(join(root, 'state'), scratch)
      const { newest } = await findCopies(root)
      const isNewest = verdict.kind === 'ok' && verdict.writes >= (newest?.copy.writes ?? 0)
      if (isNewest) return await copyOfStore(scratch)
      reason = verdict.kind === 'damaged' ? verdict.reason : 'it is older than the newest copy'
    } finally {
      await rm(scratch, { recursive: true, force: true })
    }
    await sleep(LIVE_EVERY_MS)
  }
  const failure = `${LIVE_COPIES_MAX} copies of its store were no good: ${reason}`
  throw new AppError('ERR_STORE_FAILED', `${root}: ${what}, and ${failure}`)
}

async function copyOfStopped({ root, scratch, say }: Reading): Promise<string> {
  // So that no node starts meanwhile.
  const lock = await lockHome(root)
  try {
    await mkdir(scratch, { mode: 0o700 })
    const verdict = await look(join(root, 'state'), scratch)
    const { newest } = await findCopies(root)
    if (verdict.kind === 'ok' && verdict.writes > (newest?.copy.writes ?? -1)) {
      return await copyOfStore(scratch)
    }
    if (newest === null) {
      const reason = verdict.kind === 'damaged' ? verdict.reason : 'it is missing'
      const path = join(root, 'state', 'data.mdb')
      throw new AppError('ERR_STORE_DAMAGED', `${path}: ${reason}; there is no good copy of it`)
    }
    const { name, copy } = newest
    if (verdict.kind !== 'ok' || verdict.writes < copy.writes) {
      const time = new Date(copy.savedOn).toISOString()
      say(`the state is damaged; this is a back-up of its copy ${name} of ${time}`)
    }
    return await readFile(join(copiesFolder(root), name), 'utf8')
  } finally {
    await rm(scratch, { recursive: true, force: true })
    await lock.release()
  }
}

type Verdict =
  | Exclude<StoreFile, { kind: 'file' }>
  | { readonly kind: 'ok'; readonly writes: number }

/** Copies the file of the store to `scratch`, where a child reads it to its end. */
async function look(state: string, scratch: string): Promise<Verdict> {
  const file = await storeFile(state)
  if (file.kind !== 'file') return file
  const [needed, free] = [2 * file.bytes + FREE_BYTES_MIN, await freeBytes(scratch)]
  if (free < needed) {
    const figures = `${needed} bytes are needed, ${free} are free`
    throw new AppError('ERR_DISK_FULL', `${scratch}: ${figures}`)
  }
  await copyFile(file.path, join(scratch, 'data.mdb'), constants.COPYFILE_FICLONE)
  const task = { kind: 'walk', directory: scratch, trial: null } as const
  const answer = await askStoreChild(task, file.bytes)
  if (answer.kind === 'unknown') {
    throw new AppError('ERR_STORE_FAILED', `${file.path} cannot be checked: ${answer.reason}`)
  }
  if (answer.kind === 'damaged') return answer
  return answer.isEmpty ? { kind: 'missing' } : { kind: 'ok', writes: answer.totals.writes }
}

/** Takes what an older version wrote to the present format, which is why it works on a copy. */
async function copyOfStore(directory: string): Promise<string> {
  const store = await LmdbStore.open(directory)
  try {
    return [...copyPieces(store.snapshot(), wallMs())].join('')
  } finally {
    await store.close()
  }
}
