/**
 * Whether a query only reads, so that it may be run again for measuring and for warming up. Said by
 * its words: what could write counts as writing.
 */

import type { SqlPlan } from '../../core/bundle/plan.ts'
import { scan } from '../sql/scan.ts'

const READS = new Set(['SELECT', 'WITH', 'VALUES', 'TABLE', 'FROM', 'SHOW', 'DESCRIBE'])
/** Also of what a WITH holds, of SELECT … INTO, and of rows that are locked. */
const WRITES = new Set(['INSERT', 'UPDATE', 'DELETE', 'MERGE', 'INTO', 'CALL', 'SHARE', 'LOCK'])

export function isReadOnly({ connection, statements }: SqlPlan): boolean {
  // The embedded database is opened for reading only.
  return connection === null || statements.every(({ text }) => reads(text))
}

function reads(text: string): boolean {
  const words: string[] = []
  for (const { kind, start, end } of scan(text, 'postgresql')) {
    if (kind === 'word') words.push(text.slice(start, end).toUpperCase())
    if (kind === 'hidden') return false
  }
  const [first] = words
  return first !== undefined && READS.has(first) && !words.some((word) => WRITES.has(word))
}
