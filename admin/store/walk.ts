/**
 * Reads everything that a store holds and says whether all of it is as it was written. Runs in a
 * child (store-main.ts), because LMDB does not validate its file: a damaged one may end the process
 * that reads it.
 */

import { constants } from 'node:fs'
import { copyFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../../core/base/errors.ts'
import {
  FORMAT,
  FORMAT_KEY,
  FORMAT_WITHOUT_TOTALS,
  JOURNAL,
  META,
  type Sealed,
  TOTALS_KEY,
} from './entries.ts'
import { unseal } from './envelope.ts'
import { commitDurably, openEnv, type StoreEnv } from './lmdb-env.ts'
import { journalFault, orphanFault, recordFault } from './shapes.ts'
import { Tally, type Totals, totalsFault, totalsOf } from './totals.ts'

/** Records that the trial writes again; each with its neighbours on the way down the tree. */
const TRIAL_RECORDS = 200
const TRIAL_ROUNDS = 3
/** Longer than any run of free pages is likely to be, so that all of them are looked at. */
const TRIAL_CHARS = 512 * 1024
const TRIAL_KEY = 'meta/trial'

export type Walked =
  /** `isEmpty`: nothing was ever stored, not even a format. */
  | { readonly kind: 'ok'; readonly isEmpty: boolean; readonly totals: Totals }
  | { readonly kind: 'damaged'; readonly reason: string }
  /** A later version wrote it: what looks wrong here may be right there. */
  | { readonly kind: 'unknown'; readonly reason: string }

/** All that is stored, as it is; nothing is written. */
export async function walk(directory: string): Promise<Walked> {
  try {
    const env = openEnv(directory)
    const walked = walkAll(env)
    await env.close()
    return walked
  } catch (error) {
    return damaged(messageOf(error))
  }
}

/**
 * Writes in a copy of the file and reads that again. The list of free pages is read by LMDB on
 * writing only; a wrong one would give away pages that hold records.
 */
export async function tryWriting(directory: string, place: string): Promise<Walked> {
  try {
    await mkdir(place, { recursive: true, mode: 0o700 })
    const from = join(directory, 'data.mdb')
    await copyFile(from, join(place, 'data.mdb'), constants.COPYFILE_FICLONE)
    const env = openEnv(place)
    await rewrite(env)
    const walked = walkAll(env)
    await env.close()
    return walked
  } catch (error) {
    return damaged(`writing to a copy of it fails: ${messageOf(error)}`)
  }
}

async function rewrite(env: StoreEnv): Promise<void> {
  const sample: Sealed[] = []
  for (const { key, value } of env.getRange({ limit: TRIAL_RECORDS })) {
    sample.push({ key, text: value })
  }
  for (let round = 0; round < TRIAL_ROUNDS; round++) {
    const filler = { key: TRIAL_KEY, text: 'x'.repeat(TRIAL_CHARS) }
    await commitDurably(env, [...sample, filler], [])
    await commitDurably(env, [], [TRIAL_KEY])
  }
}

function walkAll(env: StoreEnv): Walked {
  const format = formatOf(env)
  if (typeof format === 'number' && format > FORMAT) {
    const what = `a later version wrote it (format ${format}, this one reads ${FORMAT} and older)`
    return { kind: 'unknown', reason: what }
  }
  const tally = new Tally()
  const meta = new Map<string, unknown>()
  const keys: string[] = []
  let seq = 0
  let count = 0
  for (const { key, value } of env.getRange({})) {
    const stored = unseal(key, value)
    count += 1
    if (key.startsWith(META)) meta.set(key, stored)
    else {
      const isJournal = key.startsWith(JOURNAL)
      const fault = isJournal ? journalFault(key, stored) : recordFault(key, stored)
      if (fault !== null) return damaged(fault)
      if (isJournal) seq = Number(key.slice(JOURNAL.length))
      else keys.push(key)
      tally.add({ key, text: value })
    }
  }
  if (count === 0) return { kind: 'ok', isEmpty: true, totals: tally.totals(0, 0) }
  const fault = orphanFault(keys)
  return fault === null ? judge(meta, (writes) => tally.totals(seq, writes)) : damaged(fault)
}

function formatOf(env: StoreEnv): unknown {
  const stored = env.get(FORMAT_KEY)
  return stored === undefined ? null : unseal(FORMAT_KEY, stored)
}

function judge(meta: ReadonlyMap<string, unknown>, foundOf: (writes: number) => Totals): Walked {
  const format = meta.get(FORMAT_KEY)
  if (format === FORMAT_WITHOUT_TOTALS) {
    return { kind: 'ok', isEmpty: false, totals: foundOf(0) }
  }
  if (format !== FORMAT) {
    const what = format === undefined ? 'is missing' : `is ${JSON.stringify(format)}`
    return damaged(`${FORMAT_KEY}: it ${what}, this node reads ${FORMAT} and older`)
  }
  const stored = totalsOf(meta.get(TOTALS_KEY))
  if (stored === null) return damaged(`${TOTALS_KEY}: it is missing`)
  const fault = totalsFault(stored, foundOf(stored.writes))
  return fault === null ? { kind: 'ok', isEmpty: false, totals: stored } : damaged(fault)
}

function damaged(reason: string): Walked {
  return { kind: 'damaged', reason }
}
