/**
 * Goal: a body that is read as rows of numbers means what JSON.parse says it means; all others are
 * left to it. A body never reaches into the one behind it.
 *
 * Method: bodies in many ways to write them, changed at random places, one behind the other in a
 * batch, against JSON.parse as the oracle.
 */

import fc from 'fast-check'
import t from 'tap'
import type { Shape } from '../../../workers/quick-rows/row-layout.ts'
import { type QuickRows, RowReader } from '../../../workers/quick-rows/row-reader.ts'

const NAMES = ['a', 'b c', 'toString', 'd']

type Row = Readonly<Record<string, unknown>>

const rowOf = (values: readonly number[]): Row =>
  Object.fromEntries(NAMES.map((name, i) => [name, values[i]]))

/** A reader that knows how this body is written. */
function taught(body: string, shape: Shape, names = NAMES): RowReader {
  const reader = new RowReader(names)
  const bytes = Buffer.from(body)
  reader.learn(bytes, { start: 0, end: bytes.length, shape })
  return reader
}

function readAll(reader: RowReader, bodies: readonly string[], shape: Shape): (Row[] | null)[] {
  const bytes = Buffer.from(bodies.join(''))
  let start = 0
  reader.clear()
  const found = bodies.map((body) => {
    const end = start + Buffer.byteLength(body)
    const rows = reader.read(bytes, { start, end, shape })
    start = end
    return rows
  })
  return found.map((rows) => (rows === null ? null : featuresOf(rows)))
}

const featuresOf = (rows: QuickRows): Row[] =>
  Array.from({ length: rows.rows }, (_, row) => rows.row(row).features)

/** Null: it is none that a reader may take. */
function parsed(body: string, shape: Shape): Row[] | null {
  try {
    const value = JSON.parse(body)
    const items: { features: Row }[] = shape === 'row' ? [value] : value.items
    return items.map(({ features }) => features)
  } catch {
    return null
  }
}

const WRITERS: readonly ((features: Row) => string)[] = [
  (features) => JSON.stringify({ features }),
  (features) => JSON.stringify({ features }, null, 2),
  (features) => JSON.stringify({ features }).replaceAll(':', ' : ').replaceAll(',', ', '),
  (features) => `\n${JSON.stringify({ features })}\r\n`,
  (features) =>
    JSON.stringify({ features: Object.fromEntries(Object.entries(features).reverse()) }),
]
const ROW = rowOf([1, -2.5, 0, 1e-7])

t.test('one row a body, however it is written', async (t) => {
  const rows = [ROW, rowOf([0.1, 0.12345678955316544, -0, 3e5]), rowOf([1, 2, 3, 4])]
  for (const write of WRITERS) {
    const reader = taught(write(rowOf([7, 8, 9, 10])), 'row')
    const found = readAll(reader, rows.map(write), 'row')
    t.strictSame(
      found,
      rows.map((row) => [row]),
      write(ROW).slice(0, 30),
    )
  }
})

t.test('many rows a body', async (t) => {
  const write = (rows: readonly Row[]) =>
    JSON.stringify({ items: rows.map((features) => ({ features })) })
  for (const text of [
    write,
    (rows: readonly Row[]) => JSON.stringify(JSON.parse(write(rows)), null, 1),
  ]) {
    const reader = taught(text([ROW, ROW]), 'rows')
    const bodies = [
      [ROW],
      [ROW, rowOf([4, 3, 2, 1]), ROW],
      Array.from({ length: 3_000 }, () => ROW),
    ]
    t.strictSame(readAll(reader, bodies.map(text), 'rows'), bodies)
  }
  t.equal(readAll(taught(write([ROW, ROW]), 'rows'), ['{"items":[]}'], 'rows')[0], null)
})

t.test('what is left to JSON.parse', async (t) => {
  const known = JSON.stringify({ features: ROW })
  const reader = taught(known, 'row')
  const others = [
    known.replace('1,', 'null,'),
    known.replace('1,', '"1",'),
    known.replace('1,', '01,'),
    known.replace('1,', 'NaN,'),
    known.replace('}}', '},"dispatch":{"forcedGeneration":"v2"}}'),
    known.replace('}}', '},"explanations":{"enabled":true}}'),
    known.replace('}}', ',"a":2}}'),
    known.slice(0, -1),
    `${known}x`,
    '',
  ]
  for (const body of others) {
    t.equal(readAll(reader, [body], 'row')[0], null, body)
    t.equal(readAll(taught(body, 'row'), [body], 'row')[0], null, 'nor is it learnt')
  }
  t.equal(readAll(reader, [known.slice(0, 9), known.slice(9)], 'row')[0], null, 'two halves')
})

t.test('changed anywhere, it means the same as for JSON.parse or is left to it', async (t) => {
  const write = (values: number[]) => JSON.stringify({ features: rowOf(values) })
  const values = fc.array(
    fc.maxSafeInteger().map((seed) => seed / 2 ** 46),
    {
      minLength: NAMES.length,
      maxLength: NAMES.length,
    },
  )
  const change = fc.record({
    at: fc.nat(100),
    byte: fc.constantFrom(...'0123456789.-+eE",:{} []x\\'),
    drop: fc.nat(2),
  })
  let taken = 0
  fc.assert(
    fc.property(values, values, fc.array(change, { maxLength: 2 }), (first, second, changes) => {
      const reader = taught(write(first), 'row')
      let body = write(second)
      for (const { at, byte, drop } of changes) {
        const place = at % body.length
        body = body.slice(0, place) + byte + body.slice(place + drop)
      }
      const bodies = [body, write(first)]
      const found = readAll(reader, bodies, 'row')
      for (const [i, rows] of found.entries()) {
        if (rows === null) continue
        taken += 1
        t.strictSame(rows, parsed(bodies[i] ?? '', 'row'), bodies[i] ?? '')
      }
    }),
    { numRuns: 3_000 },
  )
  t.ok(taken > 500, `${taken} were read`)
})

t.test('callers who write differently are learnt in turn', async (t) => {
  const [first, second] = WRITERS.map((write) => write(ROW))
  const reader = taught(first ?? '', 'row')
  const bytes = Buffer.from(second ?? '')
  const place = { start: 0, end: bytes.length, shape: 'row' } as const
  for (let i = 0; i < 200 && reader.read(bytes, place) === null; i++) reader.learn(bytes, place)
  t.strictSame(readAll(reader, [first ?? '', second ?? ''], 'row'), [[ROW], [ROW]])
})

t.test('thousands of rows need no memory afterwards', async (t) => {
  const body = JSON.stringify({ features: ROW })
  const reader = taught(body, 'row')
  const bodies = Array.from({ length: 20_000 }, () => body)
  t.ok(readAll(reader, bodies, 'row').every((rows) => rows !== null))
  t.ok(reader.values.length >= 80_000)
  reader.clear()
  t.ok(reader.values.length < 10_000)
})

t.test('the rows of a usual batch need no new memory', (t) => {
  const reader = taught(JSON.stringify({ features: ROW }), 'row')
  const { values } = reader
  reader.clear()
  t.equal(reader.values, values)
  t.end()
})
