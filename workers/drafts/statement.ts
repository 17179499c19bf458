/**
 * What the parameters of a SQL statement may be called: each `?` like the column that it is
 * compared with, where one stands right before it.
 */

import type { DraftRequest, StatementDraft } from '../protocol.ts'
import { type Piece, scan } from '../sql/scan.ts'
import { planStatements } from '../sql/statements.ts'
import { DraftRefused } from './refused.ts'

type StatementRequest = Extract<DraftRequest, { kind: 'statement' }>

const COMPARES = /^(?:[=<>!]+|LIKE|ILIKE|IN|BETWEEN)$/i
const COUNTS = /^(?:LIMIT|OFFSET)$/i

export function draftStatement({ query, dialect }: StatementRequest): StatementDraft {
  const parameters: (string | null)[] = []
  const before: string[] = []
  for (const piece of scan(query, dialect)) {
    if (piece.kind === 'space' || piece.kind === 'comment') continue
    if (piece.kind === 'placeholder') parameters.push(nameFrom(before))
    before.push(...textsOf(query, piece))
  }
  const names = parameters.map((name, i) => name ?? `p${i + 1}`)
  const planned = planStatements(query, names, dialect)
  if (planned.kind === 'faults') {
    throw new DraftRefused(...planned.faults.map(({ path, reason }) => `${path}: ${reason}`))
  }
  return { kind: 'statement', parameters }
}

/** Operators come letter by letter or together, as the scanner likes it. */
function textsOf(query: string, { start, end, kind }: Piece): string[] {
  const text = query.slice(start, end)
  return kind === 'code' ? (text.match(/[=<>!]+|\S/g) ?? []) : [text]
}

function nameFrom(before: readonly string[]): string | null {
  const texts = before.toReversed().filter((text) => text !== '(')
  const [operator = '', ...rest] = texts
  if (COUNTS.test(operator)) return operator.toLowerCase()
  const at = rest.findIndex((text) => !/^[=<>!]+$|^NOT$/i.test(text))
  const name = rest[at] ?? ''
  if (!COMPARES.test(operator) || !/^(?:[\p{L}_][\p{L}\p{N}_$]*|".+"|`.+`)$/u.test(name)) {
    return null
  }
  return name.replace(/^["`]|["`]$/g, '')
}
