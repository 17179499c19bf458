/**
 * The whole state as one JSON file that people can read: what a copy holds, and what makes one
 * good. A damaged store is rebuilt from it, and a back-up carries it.
 */

import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../../core/base/errors.ts'
import { isObject } from '../../core/base/json.ts'
import { documentPieces, openDocument } from './checked-document.ts'
import { FORMAT, journalKey } from './entries.ts'
import { canonicalJson, jsonOf } from './envelope.ts'
import type { Snapshot } from './mirror.ts'
import { journalFault, orphanFault, recordFault } from './shapes.ts'

const SEQ_DIGITS = 12
const NAME = /^state-(\d{12,16})\.json$/
/** So much text at a time that a piece costs about a millisecond. */
const PIECE_CHARS = 256 * 1024

export interface StateCopy {
  readonly seq: number
  /** Changes that it holds; see Totals. */
  readonly writes: number
  /** When it was made, ms since the epoch. */
  readonly savedOn: number
  readonly records: readonly Plain[]
  /** Oldest first. */
  readonly journal: readonly Plain[]
}

/** A record or entry as it was before it was sealed. */
export interface Plain {
  readonly key: string
  readonly value: unknown
}

export function serviceCount({ records }: StateCopy): number {
  return records.filter(({ key }) => key.startsWith('service/')).length
}

export type CopyReading =
  | { readonly kind: 'good'; readonly copy: StateCopy }
  | { readonly kind: 'bad'; readonly reason: string }

/** A copy that passed its checks, and those before it that did not. */
export interface FoundCopies {
  readonly newest: { readonly name: string; readonly copy: StateCopy } | null
  readonly bad: readonly { readonly name: string; readonly reason: string }[]
}

export function copiesFolder(root: string): string {
  return join(root, 'copies')
}

export function copyName(seq: number): string {
  return `state-${String(seq).padStart(SEQ_DIGITS, '0')}.json`
}

/** The number of the newest journal entry in it; null: the file is no copy. */
export function seqOfName(name: string): number | null {
  const seq = NAME.exec(name)?.[1]
  return seq === undefined ? null : Number(seq)
}

/** Names of the copies in a folder, newest first; none when there is no folder. */
export async function copyNames(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => [])
  return names
    .filter((name) => seqOfName(name) !== null)
    .sort((a, b) => Number(seqOfName(b)) - Number(seqOfName(a)))
}

/** The file's text in pieces; the records' own JSON goes in as it is stored. */
export function copyPieces(snapshot: Snapshot, savedOn: number): Generator<string> {
  return documentPieces(gathered(bodyTexts(snapshot, savedOn)))
}

function* bodyTexts({ totals, records, journal }: Snapshot, savedOn: number): Generator<string> {
  yield `{"format":${FORMAT},"journal":[`
  for (const [i, { text }] of journal.entries()) yield `${i === 0 ? '' : ','}${jsonOf(text)}`
  yield '],"records":{'
  let comma = ''
  for (const { key, text } of records) {
    yield `${comma}${JSON.stringify(key)}:${jsonOf(text)}`
    comma = ','
  }
  yield `},"savedOn":${savedOn},"seq":${totals.seq},"writes":${totals.writes}}`
}

function* gathered(texts: Iterable<string>): Generator<string> {
  let piece = ''
  for (const text of texts) {
    piece += text
    if (piece.length < PIECE_CHARS) continue
    yield piece
    piece = ''
  }
  yield piece
}

export async function readCopy(path: string): Promise<CopyReading> {
  try {
    return parseCopy(await readFile(path, 'utf8'))
  } catch (error) {
    return bad(messageOf(error))
  }
}

/** The newest good one, tried from the newest on. */
export async function findCopies(root: string): Promise<FoundCopies> {
  const folder = copiesFolder(root)
  const bad: { name: string; reason: string }[] = []
  for (const name of await copyNames(folder)) {
    const reading = await readCopy(join(folder, name))
    if (reading.kind === 'good') return { newest: { name, copy: reading.copy }, bad }
    bad.push({ name, reason: reading.reason })
  }
  return { newest: null, bad }
}

export function parseCopy(text: string): CopyReading {
  const opened = openDocument(text)
  if (opened.kind === 'bad') return opened
  const { format, journal, records, savedOn, seq, writes } = opened.body
  if (format !== FORMAT) return bad(`it has format ${canonicalJson(format)}, not ${FORMAT}`)
  if (!isObject(records) || !Array.isArray(journal)) return bad('it lacks records or journal')
  if (typeof seq !== 'number' || typeof writes !== 'number' || typeof savedOn !== 'number') {
    return bad('it lacks its number or time')
  }
  const all = Object.entries(records).map(([key, value]) => ({ key, value }))
  const entries = journal.map((entry) => ({ key: keyOfEntry(entry), value: entry }))
  const fault = faultIn(all, entries)
  if (fault !== null) return bad(fault)
  return { kind: 'good', copy: { seq, writes, savedOn, records: all, journal: entries } }
}

function faultIn(records: readonly Plain[], journal: readonly Plain[]): string | null {
  for (const { key, value } of records) {
    const fault = recordFault(key, value)
    if (fault !== null) return fault
  }
  for (const { key, value } of journal) {
    const fault = journalFault(key, value)
    if (fault !== null) return fault
  }
  return orphanFault(records.map(({ key }) => key))
}

function keyOfEntry(entry: unknown): string {
  return journalKey(isObject(entry) ? Number(entry['seq']) : 0)
}

function bad(reason: string): CopyReading {
  return { kind: 'bad', reason }
}
