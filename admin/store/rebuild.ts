/**
 * Puts a new store in place: made and read again in staging, then moved in one step. The old one is
 * kept aside, for whoever wants to know what happened to it.
 */

import { copyFile, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { wallMs } from '../../core/base/clock.ts'
import { AppError } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'
import type { Logger } from '../../core/base/logger.ts'
import type { Building } from './build.ts'
import { exists, syncPath, syncTree } from './files.ts'
import type { Home } from './home.ts'
import { FREE_BYTES_MIN } from './lmdb-store.ts'
import type { JournalEntry } from './records.ts'
import {
  copiesFolder,
  type FoundCopies,
  type StateCopy,
  seqOfName,
  serviceCount,
} from './state-copy.ts'
import { askStoreChild } from './store-child.ts'
import { freeBytes } from './store-files.ts'

const ASIDE = 'state.damaged-'
const ASIDE_MAX = 3
/** A store takes more room than the JSON it is made of. */
const ROOM_SHARE = 4

export interface RebuildInput {
  readonly home: Home
  readonly found: FoundCopies
  /** What is wrong with the store. */
  readonly reason: string
  readonly seqMin: number
  readonly logger: Logger
}

export async function createEmpty(home: Home): Promise<void> {
  const nothing = { copy: null, entry: null, writesMin: 0 }
  await moveIn(home, await built(home, nothing, 0))
}

export async function rebuild(input: RebuildInput): Promise<void> {
  const { home, found, reason, logger } = input
  if (found.newest === null) throw new AppError('ERR_STORE_DAMAGED', reason)
  const { name, copy } = found.newest
  const path = join(copiesFolder(home.root), name)
  const seqSeen = Math.max(input.seqMin, copy.seq, ...found.bad.map((one) => seqOf(one.name)))
  const savedOn = new Date(copy.savedOn).toISOString()
  const after = { reason, copy: name, savedOn, changesLostMin: seqSeen - copy.seq }
  const entry = entryOf({ seq: seqSeen + 1, action: 'rebuildState', after })
  const { size } = await stat(path)
  const staged = await built(home, { copy: path, entry, writesMin: copy.writes }, size)
  const aside = await setAside(home, staged)
  await moveIn(home, staged)
  const lost = lossText(copy, seqSeen)
  const fields = { reason, copy: name, savedOn, services: serviceCount(copy), lost, aside }
  logger.error(fields, 'the state has been rebuilt from a copy')
  await prune(home)
}

export function entryOf(what: Pick<JournalEntry, 'seq' | 'action' | 'after'>): JournalEntry {
  return { ...what, time: wallMs(), actor: 'node', before: null }
}

/** Path of a directory in staging that holds a store which was read to its end. */
export async function built(
  home: Home,
  wish: Omit<Building, 'directory'>,
  bytes: number,
): Promise<string> {
  const neededBytes = ROOM_SHARE * bytes + FREE_BYTES_MIN
  const bytesFree = await freeBytes(home.staging)
  if (bytesFree < neededBytes) {
    const figures = `${bytesFree} bytes are free, ${neededBytes} are needed`
    throw new AppError('ERR_DISK_FULL', `no room for a new store in ${home.state}: ${figures}`)
  }
  const directory = home.stagingPath('state')
  const answer = await askStoreChild({ kind: 'build', ...wish, directory }, bytes)
  if (answer.kind === 'ok') return directory
  await rm(directory, { recursive: true, force: true })
  throw new AppError('ERR_STORE_FAILED', `a new store cannot be made: ${answer.reason}`)
}

/** Moving data.mdb is the commit point of everything that makes a store anew. */
export async function moveIn(home: Home, staged: string): Promise<void> {
  await syncTree(staged)
  await failpoint('state.staged')
  await rm(join(home.state, 'lock.mdb'), { force: true })
  for (const name of ['journal.jsonl', 'data.mdb']) {
    if (await exists(join(staged, name))) await rename(join(staged, name), join(home.state, name))
  }
  await failpoint('state.named')
  await syncPath(home.state)
  await failpoint('state.flushed')
  await rm(staged, { recursive: true, force: true })
}

/** Keeps the damaged store; the exported journal goes on in the new one. */
async function setAside(home: Home, staged: string): Promise<string | null> {
  const left = (await readdir(home.state)).filter((name) => name !== 'lock.mdb')
  if (left.length === 0) return null
  const stamp = new Date(wallMs()).toISOString().replace(/[-:]/g, '').replace('.', '-')
  const aside = join(home.root, `${ASIDE}${stamp}`)
  const exported = join(home.state, 'journal.jsonl')
  if (await exists(exported)) await copyFile(exported, join(staged, 'journal.jsonl'))
  await rename(home.state, aside)
  await failpoint('rebuild.aside')
  await mkdir(home.state, { mode: 0o700 })
  await failpoint('rebuild.emptied')
  await syncPath(home.root)
  return aside
}

async function prune(home: Home): Promise<void> {
  const names = (await readdir(home.root)).filter((name) => name.startsWith(ASIDE)).sort()
  for (const name of names.slice(0, -ASIDE_MAX)) {
    await rm(join(home.root, name), { recursive: true, force: true })
  }
}

function lossText(copy: StateCopy, seqSeen: number): string {
  const since = `changes after number ${copy.seq}, if there were any`
  return seqSeen === copy.seq ? since : `${since}; at least ${seqSeen - copy.seq} had been made`
}

function seqOf(name: string): number {
  return seqOfName(name) ?? 0
}
