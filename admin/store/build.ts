/** Makes a store out of a copy of the state, or an empty one. Runs in a child like the walk. */

import { mkdir } from 'node:fs/promises'
import { AppError } from '../../core/base/errors.ts'
import { FORMAT, FORMAT_KEY, sealed, sealedEntry, TOTALS_KEY } from './entries.ts'
import { syncTree } from './files.ts'
import { commitDurably, openEnv } from './lmdb-env.ts'
import type { JournalEntry } from './records.ts'
import { readCopy, type StateCopy } from './state-copy.ts'
import { Tally } from './totals.ts'

export interface Building {
  /** A new directory. */
  readonly directory: string
  /** Path of the copy; null: an empty store. */
  readonly copy: string | null
  /** Says in the journal where the state came from; null: nothing to say. */
  readonly entry: JournalEntry | null
  /** The new state counts as newer than this many changes. */
  readonly writesMin: number
}

export async function build(building: Building): Promise<void> {
  const { directory, copy, entry } = building
  const state = copy === null ? null : await goodCopy(copy)
  const copied = [...(state?.records ?? []), ...(state?.journal ?? [])]
  const all = copied.map(({ key, value }) => sealed(key, value))
  if (entry !== null) all.push(sealedEntry(entry))
  const tally = new Tally()
  for (const one of all) tally.add(one)
  const seq = entry?.seq ?? state?.seq ?? 0
  const writes = Math.max(building.writesMin, state?.writes ?? 0) + (entry === null ? 0 : 1)
  const meta = [sealed(FORMAT_KEY, FORMAT), sealed(TOTALS_KEY, tally.totals(seq, writes))]
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const env = openEnv(directory)
  await commitDurably(env, [...all, ...meta], [])
  await env.close()
  await syncTree(directory)
}

async function goodCopy(path: string): Promise<StateCopy> {
  const reading = await readCopy(path)
  if (reading.kind === 'good') return reading.copy
  throw new AppError('ERR_STORE_DAMAGED', `${path}: ${reading.reason}`)
}
