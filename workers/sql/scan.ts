/**
 * Cuts SQL text into pieces, as far as it takes to know what is quoted and what is not. It is no
 * parser: whether a statement makes sense is for its database to say.
 */

export type Dialect = 'duckdb' | 'postgresql' | 'mysql'

export interface Piece {
  readonly kind:
    | 'space'
    | 'comment'
    | 'quoted'
    | 'word'
    | 'placeholder'
    /** `??`, which stands for an operator with a question mark in PostgreSQL. */
    | 'question'
    /** `$1` and `$name`: a database's own placeholders. */
    | 'foreign'
    /** A comment that MySQL runs. */
    | 'hidden'
    | 'separator'
    | 'code'
    /** A quote or comment without an end. */
    | 'unclosed'
  readonly start: number
  readonly end: number
}

type Found = Omit<Piece, 'start'>

/** All of the text, in order and without gaps. */
export function* scan(text: string, dialect: Dialect): Generator<Piece> {
  let start = 0
  while (start < text.length) {
    const found = pieceAt(text, start, dialect)
    yield { ...found, start }
    start = found.end
  }
}

const SPACE = /\s+/y
const WORD = /[\p{L}_][\p{L}\p{N}_$]*/uy
const NUMBER = /\d[\w.]*/y
const LINE_COMMENT = /--[^\n]*/y
/** MySQL wants a space behind the dashes: `5--1` is a sum there. */
const LINE_COMMENT_MYSQL = /--(?=[\s\0]|$)[^\n]*|#[^\n]*/y
const DOLLAR_QUOTE = /\$(?:[\p{L}_][\p{L}\p{N}_]*)?\$/uy
const FOREIGN = /\$[\p{L}\p{N}_]+/uy

function pieceAt(text: string, start: number, dialect: Dialect): Found {
  const two = text.slice(start, start + 2)
  if (two === '/*') return blockComment(text, start, dialect)
  const line = match(dialect === 'mysql' ? LINE_COMMENT_MYSQL : LINE_COMMENT, text, start)
  if (line !== null) return { kind: 'comment', end: line }
  const space = match(SPACE, text, start)
  if (space !== null) return { kind: 'space', end: space }
  const quoted = quotedAt(text, start, dialect)
  if (quoted !== null) return quoted
  const word = match(WORD, text, start)
  if (word !== null) return { kind: 'word', end: word }
  const number = match(NUMBER, text, start)
  if (number !== null) return { kind: 'code', end: number }
  if (two === '??' && dialect === 'postgresql') return { kind: 'question', end: start + 2 }
  if (two[0] === '?') return { kind: 'placeholder', end: start + 1 }
  if (two[0] === ';') return { kind: 'separator', end: start + 1 }
  return { kind: 'code', end: start + 1 }
}

function quotedAt(text: string, start: number, dialect: Dialect): Found | null {
  const mark = text[start]
  if (mark === "'") return quote(text, start, dialect === 'mysql')
  if (mark === '"') return quote(text, start, dialect === 'mysql')
  if (mark === '`' && dialect === 'mysql') return quote(text, start, false)
  if (dialect === 'mysql') return null
  // E'…' knows escapes by backslash; other letters before a quote change nothing about its end.
  if (/^e'/i.test(text.slice(start, start + 2))) return quote(text, start + 1, true)
  return mark === '$' ? dollarQuote(text, start) : null
}

/** Up to the same mark again; a doubled one is part of the text. */
function quote(text: string, start: number, hasBackslash: boolean): Found {
  const mark = text[start]
  for (let at = start + 1; at < text.length; at++) {
    if (hasBackslash && text[at] === '\\') at += 1
    else if (text[at] !== mark) continue
    else if (text[at + 1] === mark) at += 1
    else return { kind: 'quoted', end: at + 1 }
  }
  return { kind: 'unclosed', end: text.length }
}

function dollarQuote(text: string, start: number): Found | null {
  const open = match(DOLLAR_QUOTE, text, start)
  if (open === null) {
    const foreign = match(FOREIGN, text, start)
    return foreign === null ? null : { kind: 'foreign', end: foreign }
  }
  const tag = text.slice(start, open)
  const close = text.indexOf(tag, open)
  if (close < 0) return { kind: 'unclosed', end: text.length }
  return { kind: 'quoted', end: close + tag.length }
}

/** Comments nest in PostgreSQL and DuckDB, and do not in MySQL. */
function blockComment(text: string, start: number, dialect: Dialect): Found {
  const isRun = dialect === 'mysql' && /^\/\*M?!/.test(text.slice(start, start + 4))
  let depth = 1
  for (let at = start + 2; at < text.length; at++) {
    const two = text.slice(at, at + 2)
    if (two === '*/') depth -= 1
    else if (two === '/*' && dialect !== 'mysql') depth += 1
    else continue
    at += 1
    if (depth === 0) return { kind: isRun ? 'hidden' : 'comment', end: at + 1 }
  }
  return { kind: 'unclosed', end: text.length }
}

/** Where the match that begins here ends; null: there is none. */
function match(pattern: RegExp, text: string, start: number): number | null {
  pattern.lastIndex = start
  return pattern.test(text) ? pattern.lastIndex : null
}
