/**
 * Whether a query only reads, so that it may be run again for measuring and for warming up. Said by
 * its words: what could write counts as writing.
 */

import type { SqlPlan } from '../../core/bundle/plan.ts'
import { type Dialect, scan } from '../sql/scan.ts'

const READS = new Set(['SELECT', 'WITH', 'VALUES', 'TABLE', 'FROM', 'SHOW', 'DESCRIBE'])
/** Also of what a WITH holds, of SELECT … INTO, and of rows that are locked. */
const WRITES = new Set(['INSERT', 'UPDATE', 'DELETE', 'MERGE', 'INTO', 'CALL', 'SHARE', 'LOCK'])

export function isReadOnly({ connection, statements }: SqlPlan): boolean {
  // The embedded database is opened for reading only.
  return connection === null || statements.every(({ text }) => DIALECTS.every(readsIn(text)))
}

/** A plan does not say which it is in, and what one takes for a text the other may run. */
const DIALECTS: readonly Dialect[] = ['postgresql', 'mysql']

function readsIn(text: string): (dialect: Dialect) => boolean {
  return (dialect) => reads(text, dialect)
}

function reads(text: string, dialect: Dialect): boolean {
  const words: string[] = []
  for (const { kind, start, end } of scan(text, dialect)) {
    if (kind === 'word') words.push(text.slice(start, end).toUpperCase())
    if (kind === 'hidden' || kind === 'unclosed') return false
  }
  const [first] = words
  return first !== undefined && READS.has(first) && !words.some((word) => WRITES.has(word))
}
