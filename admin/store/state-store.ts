/**
 * The contract of whatever keeps the state: LMDB on one machine, something shared in a fleet.
 *
 * Every call is asynchronous and a change is one unit, so nothing that uses this may assume that
 * the state is local. A change that resolved survives the loss of power.
 */

import type { GenerationRecord, JournalEntry, StateRecord } from './records.ts'

export interface StateChange {
  readonly actor: string
  readonly action: string
  /** What the journal shows; never a secret. */
  readonly before: unknown
  readonly after: unknown
  readonly puts: readonly StateRecord[]
  readonly removes: readonly StateRecord[]
}

export interface StateStore {
  /** Every record, each checked against its checksum; generations as `thin` gives them. */
  load(): Promise<StateRecord[]>
  /** One that is stored, in little memory: its plan and report are read when somebody asks. */
  thin(record: GenerationRecord): GenerationRecord
  /** Applies all or nothing, together with its journal entry; resolves when durable. */
  commit(change: StateChange): Promise<JournalEntry>
  /** Replaces records without a journal entry: for what is no decision of anybody. */
  touch(records: readonly StateRecord[]): Promise<void>
  /** Entries of the journal, newest first. */
  journal(limit: number): Promise<JournalEntry[]>
  /** The last write failed, and may have been done all the same: only `load` tells. */
  readonly isUncertain: boolean
  close(): Promise<void>
}
