/** How values of MySQL and MariaDB become texts of an answer, and what their types are called. */

export interface Field {
  readonly name: string
  readonly columnType?: number
  readonly characterSet?: number
  readonly flags?: number | readonly string[]
  readonly extendedFormat?: string
}

const FLOAT = 4
const TIMESTAMP = 7
const DATETIME = 12
/** The character set of what is no text. */
const BINARY = 63
const UNSIGNED = 32

/** By the number on the wire. */
const NAMES: Readonly<Record<number, string>> = {
  0: 'decimal',
  1: 'tinyint',
  2: 'smallint',
  3: 'int',
  [FLOAT]: 'float',
  5: 'double',
  6: 'null',
  [TIMESTAMP]: 'timestamp',
  8: 'bigint',
  9: 'mediumint',
  10: 'date',
  11: 'time',
  [DATETIME]: 'datetime',
  13: 'year',
  14: 'date',
  15: 'varchar',
  16: 'bit',
  245: 'json',
  246: 'decimal',
  247: 'enum',
  248: 'set',
  255: 'geometry',
}
const INTEGERS = [1, 2, 3, 8, 9]
const BLOBS = [249, 250, 251, 252]

export function typeName(field: Field): string {
  const { columnType = -1, characterSet, flags = 0 } = field
  if (field.extendedFormat === 'json') return 'json'
  const isBinary = characterSet === BINARY
  if (BLOBS.includes(columnType)) return isBinary ? 'blob' : 'text'
  if (columnType === 253) return isBinary ? 'varbinary' : 'varchar'
  if (columnType === 254) return isBinary ? 'binary' : 'char'
  const isUnsigned = typeof flags === 'number' && (flags & UNSIGNED) !== 0
  const name = NAMES[columnType] ?? 'unknown'
  return isUnsigned && INTEGERS.includes(columnType) ? `${name} unsigned` : name
}

export function readTexts(row: readonly unknown[], fields: readonly Field[]): (string | null)[] {
  return row.map((value, at) => readText(value, fields[at]?.columnType))
}

function readText(value: unknown, type: number | undefined): string | null {
  if (value === null || value === undefined) return null
  if (typeof value === 'string') {
    if (type === TIMESTAMP) return `${value.replace(' ', 'T')}Z`
    return type === DATETIME ? value.replace(' ', 'T') : value
  }
  if (typeof value === 'number') return type === FLOAT ? shortestFloat(value) : String(value)
  if (Buffer.isBuffer(value)) return `\\x${value.toString('hex')}`
  return JSON.stringify(value)
}

/** The wire holds 32 bits; as 64 they would be written with digits that nobody has stored. */
export function shortestFloat(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  for (let digits = 6; digits < 9; digits++) {
    const text = value.toPrecision(digits)
    if (Math.fround(Number(text)) === value) return String(Number(text))
  }
  return String(Number(value.toPrecision(9)))
}
