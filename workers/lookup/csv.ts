/**
 * Reads a CSV file piece by piece, at the pace of whoever asks for the next. papaparse splits; this
 * file decodes, and knows on which line of the file each row begins. The only importer of
 * papaparse.
 */

import { isUtf8 } from 'node:buffer'
import { createReadStream } from 'node:fs'
import Papa from 'papaparse'

/** Rows of one piece of a file, CSV or other. */
export interface RowBatch {
  /** Null stands for an empty cell. */
  readonly rows: readonly (readonly (string | null)[])[]
  /** Where a row of this batch is, for people: `line 17`. */
  placeOf(row: number): string
  /** Bytes of the file that have been read. */
  readonly doneBytes: number
  /** What is wrong with how a row is written. */
  readonly faults: readonly { readonly row: number; readonly reason: string }[]
}

/** The file cannot be read as CSV. */
export class CsvRefused extends Error {}

const READ_BYTES = 256 * 1024
/** A row that is longer is a quote that nobody closed. */
export const ROW_CHARS_MAX = 16 * 1024 * 1024

/** What papaparse's parser answers; its types do not say. */
interface Split {
  readonly data: string[][]
  readonly errors: readonly { readonly message: string; readonly row?: number }[]
  readonly meta: { readonly cursor: number }
}

/** Blank lines are no rows. */
export async function* readCsv(path: string, delimiter: string): AsyncGenerator<RowBatch> {
  const pieces = new Pieces(delimiter)
  for await (const chunk of createReadStream(path, { highWaterMark: READ_BYTES })) {
    yield pieces.add(chunk)
  }
  yield pieces.finish()
}

class Pieces {
  readonly #delimiter: string
  // It drops a byte order mark by itself.
  readonly #decoder = new TextDecoder('utf-8', { fatal: true })
  #newline: '\n' | '\r' | null = null
  #rest = ''
  #line = 1
  #bytes = 0
  /** A row that spans many pieces is not looked at again before there is twice as much of it. */
  #enough = 0

  constructor(delimiter: string) {
    this.#delimiter = delimiter
  }

  add(chunk: Buffer): RowBatch {
    const text = this.#rest + this.#decode(chunk)
    this.#bytes += chunk.length
    if (text.length >= this.#enough) return this.#split(text, false)
    this.#rest = text
    return { rows: [], placeOf: () => '', doneBytes: this.#bytes, faults: [] }
  }

  finish(): RowBatch {
    return this.#split(this.#rest + this.#decode(null), true)
  }

  #decode(chunk: Buffer | null): string {
    try {
      return chunk === null ? this.#decoder.decode() : this.#decoder.decode(chunk, { stream: true })
    } catch {
      throw new CsvRefused(`${this.#lineOfBadBytes(chunk)} is not valid UTF-8`)
    }
  }

  #lineOfBadBytes(chunk: Buffer | null): string {
    let line = this.#line + count(this.#rest, this.#newline ?? '\n')
    let start = 0
    for (let end = chunk?.indexOf(10) ?? -1; end >= 0; end = chunk?.indexOf(10, start) ?? -1) {
      if (chunk !== null && !isUtf8(chunk.subarray(start, end))) break
      line += 1
      start = end + 1
    }
    return `line ${line}`
  }

  #split(text: string, isLast: boolean): RowBatch {
    const newline = this.#newlineOf(text)
    const parser = new Papa.Parser({ delimiter: this.#delimiter, newline })
    const split: Split = parser.parse(text, 0, !isLast)
    this.#rest = text.slice(split.meta.cursor)
    this.#enough = split.meta.cursor === 0 ? Math.min(2 * text.length, ROW_CHARS_MAX + 1) : 0
    if (this.#rest.length > ROW_CHARS_MAX) {
      const reason = `has over ${ROW_CHARS_MAX} characters; is a quote not closed?`
      throw new CsvRefused(`the row at line ${this.#line + linesOf(split.data)} ${reason}`)
    }
    const batch = this.#batch(split)
    this.#line += text.includes('"')
      ? count(text.slice(0, split.meta.cursor), newline)
      : split.data.length
    return batch
  }

  #batch({ data, errors }: Split): RowBatch {
    const firstLine = this.#line
    const ofLine = data.map((_, row) => row).filter((row) => !isBlank(data[row]))
    const rowAt = new Map(errors.length > 0 ? ofLine.map((row, i) => [row, i]) : [])
    const faults = errors.map(({ message, row = 0 }) => ({
      row: rowAt.get(row) ?? 0,
      reason: `is not well quoted: ${message}`,
    }))
    return {
      rows: ofLine.map((row) => cellsOf(data[row] ?? [])),
      placeOf: (row) => `line ${firstLine + linesOf(data.slice(0, ofLine[row] ?? 0))}`,
      doneBytes: this.#bytes,
      faults,
    }
  }

  /** Files of old are separated by carriage returns alone. */
  #newlineOf(text: string): '\n' | '\r' {
    if (this.#newline === null && text !== '') {
      this.#newline = !text.includes('\n') && text.includes('\r') ? '\r' : '\n'
    }
    return this.#newline ?? '\n'
  }
}

function isBlank(row: readonly string[] | undefined): boolean {
  return row?.length === 1 && (row[0] === '' || row[0] === '\r')
}

/** Rows are split at line feeds, so that lines of both kinds may be in one file. */
function cellsOf(row: readonly string[]): (string | null)[] {
  const cells: (string | null)[] = [...row]
  const last = row.at(-1) ?? ''
  if (last.endsWith('\r')) cells[cells.length - 1] = last.slice(0, -1)
  for (let i = 0; i < cells.length; i++) if (cells[i] === '') cells[i] = null
  return cells
}

/** Lines that rows take, those within quotes included. */
function linesOf(rows: readonly (readonly string[])[]): number {
  let lines = rows.length
  for (const row of rows) for (const cell of row) lines += count(cell, '\n')
  return lines
}

function count(text: string, what: string): number {
  let found = 0
  for (let at = text.indexOf(what); at >= 0; at = text.indexOf(what, at + 1)) found += 1
  return found
}
