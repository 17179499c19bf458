/**
 * Goal: what we write R reads, what R writes we read, exactly, whatever is in it; and bytes that R
 * would not write are refused and never believed.
 * Method: random values go through `unserialize()` and `serialize()` of a real R, which also judges
 * them with its own words; damaged bytes are decoded by the thousand.
 */

import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { isPassable } from '../../../workers/predictions/values.ts'
import { decodeR, XdrRefused } from '../../../workers/r/decode.ts'
import { encodeR } from '../../../workers/r/encode.ts'
import { AnswerRefused, fromR } from '../../../workers/r/from-r.ts'
import { list, namedList, strings, toR } from '../../../workers/r/to-r.ts'
import { doubles, isNa, NA_INTEGER, NO_ATTRIBUTES, type RValue } from '../../../workers/r/xdr.ts'
import { effort } from '../../tools/effort.ts'
import { runtimes } from '../../tools/runtimes.ts'

const { rscript, runDirectory } = runtimes(t)
const skip = rscript === null ? 'there is no Rscript' : false

/** Runs R code in which `x` is the value; what the code leaves in `x` comes back. */
function throughR(value: RValue, code = ''): RValue {
  const path = join(runDirectory, 'value')
  const program = `p <- ${JSON.stringify(path)}
    x <- unserialize(readBin(p, "raw", file.size(p)))
    ${code}
    writeBin(serialize(x, NULL, version = 2, xdr = TRUE, refhook = function(e) ""), p)`
  writeFileSync(path, encodeR(value))
  const run = spawnSync(rscript ?? '', ['--vanilla', '-e', program], { encoding: 'utf8' })
  if (run.status !== 0) throw new Error(run.stderr)
  return decodeR(readFileSync(path))
}

const text = fc.string({ unit: 'grapheme', maxLength: 12 }).filter((given) => isPassable(given))
const number = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(-0, Infinity, NaN, 5e-324))
const int = fc.oneof(fc.integer({ min: -(2 ** 31) + 1, max: 2 ** 31 - 1 }), fc.constant(NA_INTEGER))
const plain = { attributes: NO_ATTRIBUTES }

const atomic: fc.Arbitrary<RValue> = fc.oneof(
  fc
    .array(fc.option(number))
    .map((v) => ({ kind: 'double', values: doubles(v), ...plain }) as const),
  fc.array(int).map((v) => ({ kind: 'integer', values: Int32Array.from(v), ...plain }) as const),
  fc
    .array(fc.constantFrom(0, 1, NA_INTEGER))
    .map((v) => ({ kind: 'logical', values: Int32Array.from(v), ...plain }) as const),
  fc.array(fc.option(text)).map(strings),
  fc.uint8Array().map((values) => ({ kind: 'raw', values, ...plain }) as const),
  fc.constant<RValue>({ kind: 'null' }),
)
const { value: anyValue } = fc.letrec<{ value: RValue; list: RValue; object: RValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    atomic,
    tie('list'),
    tie('object'),
  ),
  list: fc.array(tie('value'), { maxLength: 5 }).map(list),
  object: fc.array(fc.tuple(text, tie('value')), { maxLength: 5 }).map(namedList),
}))

/** Bit by bit, so that NA and NaN, 0 and -0 differ. */
function canonical(value: RValue): string {
  return encodeR(value).toString('hex')
}

t.test('values that go through R come back as they were', { skip }, (t) => {
  // Many values to a process: it takes longer to start than to read them all.
  const many = fc.array(anyValue, { minLength: 150, maxLength: 200 }).map(list)
  fc.assert(
    fc.property(many, (value) => {
      t.equal(canonical(throughR(value)), canonical(value))
      t.equal(canonical(decodeR(encodeR(value))), canonical(value))
    }),
    { numRuns: effort(3, 50), endOnFailure: true },
  )
  t.end()
})

t.test('R finds in a value what we have put there', { skip }, (t) => {
  const value = namedList([
    ['na', { kind: 'double', values: doubles([null, Number.NaN, 1e308]), ...plain }],
    ['text', strings([null, 'NA', 'é', '', '🎉'])],
    ['json', toR({ a: [1, null], b: { c: [true] }, d: null })],
  ])
  const judged = throughR(
    value,
    `x <- c(is.na(x$na) & !is.nan(x$na), is.nan(x$na)[2], is.na(x$text), nchar(x$text[3]) == 1,
            Encoding(x$text[3]) == "UTF-8", identical(x$json, list(a = c(1, NA), b = list(c = TRUE),
            d = NULL)))`,
  )
  const T = true
  const expected = [T, false, false, T, T, false, false, false, false, T, T, T]
  t.strictSame(JSON.parse(fromR(judged)), expected)
  t.end()
})

t.test('what R decorates its values with is read', { skip }, (t) => {
  const rich = throughR(
    { kind: 'null' },
    `x <- list(model.frame(mpg ~ wt, mtcars[1:2, ]), structure(1L, levels = "a", class = "factor"),
      structure(2, f = y ~ x, e = globalenv(), n = asNamespace("stats"), p = pairlist(a = 1)),
      pairlist(u = 1, 2), 1:3)`,
  )
  const wt = [2.62, 2.875]
  t.strictSame(JSON.parse(fromR(rich)), [
    [
      { mpg: 21, wt: wt[0] },
      { mpg: 21, wt: wt[1] },
    ],
    'a',
    2,
    { u: 1, 2: 2 },
    [1, 2, 3],
  ])
  const values = doubles([null, Number.NaN])
  t.strictSame([isNa(values, 0), isNa(values, 1)], [true, false])
  t.end()
})

const DAMAGED: readonly (readonly [string, RegExp])[] = [
  ['', /ends too early/],
  ['410a', /not XDR/],
  ['580a00000003000305000002030000000000', /version 3/],
  ['580a0000000200030500000203000000000e7fffffff', /length of 2147483647 is beyond the end/],
  ['580a000000020003050000020300000000137fffffff', /beyond the end/],
  ['580a0000000200030500000203000000001000000001000000097fffffff', /beyond|early/],
  ['580a00000002000305000002030000000003', /a function/],
  ['580a000000020003050000020300000000fe00', /bytes behind/],
  ['580a000000020003050000020300000005ff', /leads nowhere/],
]

t.test('bytes that are damaged or hostile are refused', (t) => {
  for (const [hex, reason] of DAMAGED) {
    t.throws(() => decodeR(Buffer.from(hex, 'hex')), { message: reason }, hex)
  }
  const deep = `580a000000020003050000020300${'0000001300000001'.repeat(100_000)}000000fe`
  t.throws(() => decodeR(Buffer.from(deep, 'hex')), { message: /nested over 256 levels/ })
  const sample = encodeR(toR({ a: [1, 2], b: ['x', null, 'é'], c: [{ d: true }, 'e'] }))
  fc.assert(
    fc.property(fc.nat(sample.length - 1), fc.nat(255), fc.nat(sample.length), (at, byte, cut) => {
      const bytes = Buffer.from(sample)
      bytes[at] = byte
      for (const given of [bytes, sample.subarray(0, cut)]) {
        try {
          fromR(decodeR(given))
        } catch (error) {
          if (!(error instanceof XdrRefused || error instanceof AnswerRefused)) throw error
        }
      }
    }),
    { numRuns: effort(20_000, 200_000) },
  )
  t.end()
})

t.test('whatever the JSON, R gives back what it means there', (t) => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4, noUnicodeString: false }), (given) => {
      let value: RValue
      try {
        value = toR(given)
      } catch {
        return
      }
      t.doesNotThrow(() => JSON.parse(fromR(decodeR(encodeR(value)))))
    }),
    { numRuns: 300 },
  )
  const dim = new Map([
    ['dim', { kind: 'integer', values: Int32Array.of(2e9, 0), ...plain } as const],
  ])
  t.equal(fromR({ kind: 'double', values: doubles([]), attributes: dim }), '[]', 'an empty matrix')
  const frame = new Map([['class', strings(['data.frame'])]])
  const column: RValue = { kind: 'opaque', what: 'a call' }
  t.throws(() => fromR({ kind: 'list', values: [column], attributes: frame }), {
    message: 'the answer$1 is no column that JSON has a form for',
  })
  const big = new BigInt64Array([5n, 2n ** 60n, -(2n ** 63n)])
  const integer64 = new Map([['class', strings(['integer64'])]])
  const values = new Float64Array(big.buffer)
  t.equal(fromR({ kind: 'double', values, attributes: integer64 }), `[5,"${2n ** 60n}",null]`)
  t.end()
})
