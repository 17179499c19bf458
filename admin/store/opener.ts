/**
 * Opens the state at start: only a store that a child has read to its end, or one that was made
 * anew from the newest good copy. What was wrong is said loudly; a state that may not be the last
 * one is never served in silence.
 */

import { constants } from 'node:fs'
import { access, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, messageOf } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'
import type { Logger } from '../../core/base/logger.ts'
import type { Home } from './home.ts'
import { LmdbStore } from './lmdb-store.ts'
import { createEmpty, rebuild } from './rebuild.ts'
import { IN_VAIN_MAX, Starts } from './starts.ts'
import { putAside, StateCopies } from './state-copies.ts'
import { type FoundCopies, findCopies, seqOfName } from './state-copy.ts'
import { askStoreChild } from './store-child.ts'
import { freeBytes, prepareFiles, type StoreFile, storeFile } from './store-files.ts'

/** A trial copy leaves this much. */
const TRIAL_FREE_BYTES = 16 * 1024 * 1024
/** With less, opening a file may fail for want of space and not for what is in it. */
const FULL_BYTES = 1024 * 1024

export interface OpenedState {
  readonly store: LmdbStore
  readonly copies: StateCopies
  /** There was none: this is the first start in this directory. */
  readonly isNew: boolean
  /** It was made from a copy. */
  readonly isRebuilt: boolean
  /** It may know less than was acknowledged. */
  readonly mayBeOlder: boolean
  /** Closes all of it, with a last copy. */
  close(): Promise<void>
}

export interface OpenStateInput {
  readonly home: Home
  readonly logger: Logger
}

export async function openState(input: OpenStateInput): Promise<OpenedState> {
  const { home, logger } = input
  await refuseHalfRestored(home)
  await prepareFiles(home.state, logger)
  const [verdict, found] = await Promise.all([look(home), findCopies(home.root)])
  for (const { name, reason } of found.bad) {
    logger.error({ name, reason }, 'a copy of the state is damaged and cannot be used')
  }
  const isOlder = isKnownOlder(verdict, found, logger)
  const starts = await Starts.open(home.root)
  const decision = await decide(home, verdict, { found, starts })
  if (decision.kind === 'rebuild') {
    await rebuild({ home, found, reason: decision.reason, seqMin: decision.seqMin, logger })
  }
  if (decision.kind === 'create') await createEmpty(home)
  await putAside(home.root, found)
  await starts.begin(decision.writes, decision.kind === 'rebuild' && decision.isSuspicion)
  const store = await LmdbStore.open(home.state)
  return opened(input, store, { decision, isOlder, found, starts })
}

interface Opening {
  readonly decision: Decision
  readonly isOlder: boolean
  readonly found: FoundCopies
  readonly starts: Starts
}

async function opened(
  { home, logger }: OpenStateInput,
  store: LmdbStore,
  { decision, isOlder, found, starts }: Opening,
): Promise<OpenedState> {
  const isCurrent = found.newest?.copy.writes === store.totals.writes
  const copying = StateCopies.open({ root: home.root, source: store, logger, isCurrent })
  const copies = await copying.catch(async (error: unknown) => {
    await store.close()
    throw error
  })
  store.watch(copies)
  const close = async (): Promise<void> => {
    await copies.close()
    await failpoint('close.copied')
    await store.close()
    await failpoint('close.stored')
    await starts.end()
  }
  const isRebuilt = decision.kind === 'rebuild'
  // Also when the start that rebuilt it was ended before it had kept aside what is unknown now.
  const [last] = await store.journal(1)
  const mayBeOlder = isRebuilt || isOlder || last?.action === 'rebuildState'
  return { store, copies, isNew: decision.kind === 'create', isRebuilt, mayBeOlder, close }
}

/** A copy that is damaged still tells by its name how far the state had come. */
function isKnownOlder(verdict: Verdict, { bad }: FoundCopies, logger: Logger): boolean {
  if (verdict.kind !== 'ok') return false
  const newest = Math.max(0, ...bad.map(({ name }) => seqOfName(name) ?? 0))
  if (newest <= verdict.seq) return false
  const fields = { newest, seq: verdict.seq }
  logger.error(fields, 'the state is older than a copy of it that is damaged: changes are lost')
  return true
}

type Verdict =
  | { readonly kind: 'missing' }
  | { readonly kind: 'ok'; readonly writes: number; readonly seq: number }
  | { readonly kind: 'damaged'; readonly reason: string }

/** Looks at the file, and lets a child read it. */
async function look(home: Home): Promise<Verdict> {
  const file = await storeFile(home.state)
  if (file.kind !== 'file') return file
  await access(file.path, constants.R_OK | constants.W_OK).catch((error: unknown) => {
    // Of another user, or on a disk that nobody can write to: nothing is wrong with what is in it.
    throw new AppError('ERR_STORE_FAILED', `${file.path} cannot be opened: ${messageOf(error)}`)
  })
  const task = await walkTask(home, file)
  const answer = await askStoreChild(task, file.bytes)
  // Still there when the child died over it.
  if (task.trial !== null) await rm(task.trial, { recursive: true, force: true })
  if (answer.kind === 'unknown') {
    throw new AppError('ERR_STORE_FAILED', `${file.path} cannot be checked: ${answer.reason}`)
  }
  if (answer.kind === 'ok') {
    const { writes, seq } = answer.totals
    return answer.isEmpty ? { kind: 'missing' } : { kind: 'ok', writes, seq }
  }
  const bytes = await freeBytes(home.state)
  if (bytes >= FULL_BYTES) return answer
  const why = `the data disk is full (${bytes} bytes are free); make room and start again`
  throw new AppError('ERR_DISK_FULL', `${file.path} cannot be opened: ${why}`)
}

async function walkTask(home: Home, file: Extract<StoreFile, { kind: 'file' }>) {
  const hasSpace = (await freeBytes(home.staging)) > 2 * file.bytes + TRIAL_FREE_BYTES
  const trial = hasSpace ? home.stagingPath('trial') : null
  return { kind: 'walk', directory: home.state, trial } as const
}

type Decision =
  | { readonly kind: 'open' | 'create'; readonly writes: number }
  | {
      readonly kind: 'rebuild'
      readonly reason: string
      readonly writes: number
      /** Numbers of the journal that were given already. */
      readonly seqMin: number
      /** Nothing was found wrong with it. */
      readonly isSuspicion: boolean
    }

interface Known {
  readonly found: FoundCopies
  readonly starts: Starts
}

async function decide(home: Home, verdict: Verdict, { found, starts }: Known): Promise<Decision> {
  const copy = found.newest?.copy ?? null
  const common = { kind: 'rebuild', writes: (copy?.writes ?? 0) + 1, isSuspicion: false } as const
  switch (verdict.kind) {
    case 'missing':
      if (copy !== null) return { ...common, reason: 'it is missing', seqMin: 0 }
      await refuseLost(home, found)
      return { kind: 'create', writes: 0 }
    case 'damaged':
      if (copy !== null) return { ...common, reason: verdict.reason, seqMin: 0 }
      throw lost(home, verdict.reason, found)
    case 'ok': {
      const { writes, seq } = verdict
      if (copy !== null && copy.writes > writes) {
        const reason = `it ends with change ${seq}, its newest copy with ${copy.seq}`
        return { ...common, reason, seqMin: seq }
      }
      if (copy?.writes === writes && starts.isSuspect(writes)) {
        const reason = `the last ${IN_VAIN_MAX} starts ended before they wrote anything`
        return { ...common, reason, seqMin: seq, isSuspicion: true }
      }
      return { kind: 'open', writes }
    }
  }
}

/** No store and no copy: only where there is nothing else either is this a first start. */
async function refuseLost(home: Home, found: FoundCopies): Promise<void> {
  const services = await readdir(home.generations)
  if (found.bad.length > 0) throw lost(home, 'it is missing', found)
  if (services.length > 0) {
    throw lost(home, `it is missing, while ${home.generations} is not empty`, found)
  }
}

function lost(home: Home, reason: string, found: FoundCopies): AppError {
  const path = join(home.state, 'data.mdb')
  const [bad] = found.bad
  const copies =
    bad === undefined
      ? 'there is no copy of it'
      : `no copy of it is good (${bad.name}: ${bad.reason})`
  const cure = `restore a back-up into a new directory, or move ${home.root} away to start empty`
  return new AppError('ERR_STORE_DAMAGED', `${path}: ${reason}; ${copies}; ${cure}`)
}

/** Names of a restore that did not come to its end; see restore.ts. */
export function restoreMark(root: string): string {
  return join(root, 'restoring')
}

async function refuseHalfRestored(home: Home): Promise<void> {
  const names = await readdir(home.root)
  if (!names.includes('restoring')) return
  const file = await storeFile(home.state)
  if (file.kind === 'file') {
    // The state is moved in last, so only the mark was left.
    await rm(restoreMark(home.root), { force: true })
    return
  }
  const what = 'a restore into it did not come to its end; run the same "switchyard restore" again'
  throw new AppError('ERR_STORE_DAMAGED', `${home.root}: ${what}`)
}
