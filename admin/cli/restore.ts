/**
 * `switchyard restore`: a data directory out of a back-up. All of the back-up is read before
 * anything is changed; the state is moved in last, so wherever it is interrupted it can be run
 * again.
 */

import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { nowMs } from '../../core/base/clock.ts'
import { AppError } from '../../core/base/errors.ts'
import { refKey } from '../../core/base/ids.ts'
import { contentFiles, filesFault } from '../store/contents.ts'
import { exists, moveDurably, syncPath, writeDurably } from '../store/files.ts'
import { Home } from '../store/home.ts'
import { FREE_BYTES_MIN } from '../store/lmdb-store.ts'
import { restoreMark } from '../store/opener.ts'
import { giveTo, ownedDirectory } from '../store/owner.ts'
import { built, entryOf, moveIn } from '../store/rebuild.ts'
import type { GenerationRecord } from '../store/records.ts'
import { copiesFolder, copyNames, serviceCount } from '../store/state-copy.ts'
import { freeBytes, storeFile } from '../store/store-files.ts'
import {
  type BackedUp,
  type Backup,
  bytesOf,
  copyGeneration,
  directoryIn,
  manifestFault,
  readBackup,
  refOf,
} from './backup-files.ts'

const SAY_EVERY_MS = 1_000

export interface RestoreOptions {
  readonly home: string
  readonly source: string
  readonly say: (line: string) => void
}

export interface RestoreSummary {
  readonly home: string
  readonly seq: number
  readonly services: number
  readonly generations: number
  readonly bytes: number
  /** Generations that the back-up does not hold: the node will say that their files are missing. */
  readonly skipped: readonly string[]
}

export async function restore(options: RestoreOptions): Promise<RestoreSummary> {
  const source = resolve(options.source)
  const backup = await readBackup(source)
  await refuseFilled(resolve(options.home))
  const parts = await verified(source, backup, options.say)
  const owner = await ownedDirectory(resolve(options.home))
  const home = await Home.open(options.home)
  try {
    // Again, because only now it is ours alone.
    await refuseFilled(home.root)
    if (!(await isMovedIn(home))) await fill(home, source, { backup, parts })
    await giveTo(owner, home.root)
    await forgetMark(home)
    return summaryOf(home, backup)
  } finally {
    await home.close()
  }
}

interface Part {
  readonly record: GenerationRecord
  readonly listed: BackedUp
}

/** Every generation of the state is there, and every file is what the manifest and record say. */
async function verified(
  source: string,
  backup: Backup,
  say: (line: string) => void,
): Promise<Part[]> {
  const listed = new Map(backup.generations.map((one) => [refKey(one), one]))
  const skipped = new Set(backup.skipped)
  const parts: Part[] = []
  let saidMs = nowMs()
  for (const record of backup.records) {
    const name = refKey(refOf(record))
    const one = listed.get(name)
    if (one === undefined && skipped.has(name)) continue
    const fault = one === undefined ? 'it is not in the list' : await partFault(source, one, record)
    if (one === undefined || fault !== null) throw damaged(source, name, fault)
    parts.push({ record, listed: one })
    if (nowMs() - saidMs < SAY_EVERY_MS) continue
    saidMs = nowMs()
    say(`${parts.length} of ${backup.records.length} generations checked`)
  }
  return parts
}

async function partFault(
  source: string,
  listed: BackedUp,
  record: GenerationRecord,
): Promise<string | null> {
  const directory = directoryIn(source, refOf(record))
  if (!(await exists(directory))) return 'its directory is missing'
  const files = await contentFiles(directory)
  return manifestFault(files, listed.files) ?? filesFault(files, record)
}

async function refuseFilled(root: string): Promise<void> {
  const cure = 'name a new directory with --home, or move this one away'
  const isHalfDone = await exists(restoreMark(root))
  if (isHalfDone) return
  const file = await storeFile(join(root, 'state'))
  const hasCopies = (await copyNames(copiesFolder(root))).length > 0
  const generations = await readdir(join(root, 'generations')).catch(() => [])
  if (file.kind === 'missing' && !hasCopies && generations.length === 0) return
  throw new AppError('ERR_STORE_FAILED', `${root} holds a state already; ${cure}`)
}

/** Moving the state in is the last step but one; only the mark was left. */
async function isMovedIn(home: Home): Promise<boolean> {
  return (await storeFile(home.state)).kind === 'file'
}

interface Filling {
  readonly backup: Backup
  readonly parts: readonly Part[]
}

async function fill(home: Home, source: string, { backup, parts }: Filling): Promise<void> {
  await empty(home.staging)
  await requireSpace(home, parts)
  const staged = home.stagingPath('restore')
  for (const part of parts) await stage(source, staged, part)
  const { seq, writes } = backup.state
  const after = { createdOn: new Date(backup.createdOn).toISOString(), seq }
  const entry = entryOf({ seq: seq + 1, action: 'restore', after })
  const { size } = await stat(backup.statePath)
  const state = await built(home, { copy: backup.statePath, entry, writesMin: writes }, size)
  // From here on the directory is neither empty nor whole, and the mark says so.
  await writeDurably(restoreMark(home.root), '')
  await empty(home.generations)
  for (const { record } of parts) {
    const ref = refOf(record)
    await moveDurably(directoryIn(staged, ref), home.directoryOf(ref.serviceId, ref.generationId))
  }
  await moveIn(home, state)
  await rm(staged, { recursive: true, force: true })
}

async function stage(source: string, staged: string, { record, listed }: Part): Promise<void> {
  const ref = refOf(record)
  const [from, to] = [directoryIn(source, ref), directoryIn(staged, ref)]
  const { files, fault } = await copyGeneration(from, to, record)
  const wrong = fault ?? manifestFault(files, listed.files)
  if (wrong !== null) throw damaged(source, refKey(ref), wrong)
}

async function empty(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    await rm(join(directory, name), { recursive: true, force: true })
  }
  await mkdir(directory, { recursive: true, mode: 0o700 })
}

async function forgetMark(home: Home): Promise<void> {
  await rm(restoreMark(home.root), { force: true })
  await syncPath(home.root)
}

async function requireSpace(home: Home, parts: readonly Part[]): Promise<void> {
  const needed = bytesOf(parts.map(({ listed }) => listed)) + FREE_BYTES_MIN
  const free = await freeBytes(home.staging)
  if (free >= needed) return
  const figures = `${needed} bytes are needed, ${free} are free`
  throw new AppError('ERR_DISK_FULL', `${home.root}: ${figures}`)
}

function summaryOf(home: Home, backup: Backup): RestoreSummary {
  const { state, generations, skipped } = backup
  const services = serviceCount(state)
  const figures = { services, generations: generations.length, bytes: bytesOf(generations) }
  return { home: home.root, seq: state.seq, ...figures, skipped }
}

function damaged(source: string, name: string, fault: string | null): AppError {
  const what = `generation ${name}: ${fault}`
  return new AppError('ERR_STORE_DAMAGED', `${source} is damaged, nothing was restored: ${what}`)
}
