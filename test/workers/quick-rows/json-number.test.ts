/**
 * Goal: a number that is read from bytes is the one that JSON.parse gives, bit by bit, or none.
 * Method: numbers of every form at random, those that lie between two doubles among them, and texts
 * that are no numbers, against JSON.parse as the oracle.
 */

import fc from 'fast-check'
import t from 'tap'
import { JsonNumbers } from '../../../workers/quick-rows/json-number.ts'

const numbers = new JsonNumbers()

/** As it stands in a body: something follows. */
function read(text: string): { value: number; end: number } {
  const value = numbers.read(Buffer.from(`${text},1`), 0)
  return { value, end: numbers.end }
}

const digits = (most: number) =>
  fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 1, maxLength: most })
const written = fc
  .tuple(
    fc.constantFrom('', '-'),
    fc.oneof(
      fc.constant('0'),
      digits(22).filter((text) => text[0] !== '0'),
    ),
    fc.option(digits(24), { nil: null }),
    fc.option(fc.tuple(fc.constantFrom('e', 'E'), fc.integer({ min: -30, max: 30 })), {
      nil: null,
    }),
  )
  .map(([sign, whole, fraction, power]) =>
    [sign, whole, fraction === null ? '' : `.${fraction}`, power?.join('') ?? ''].join(''),
  )
const doubles = fc.double({ noNaN: true, noDefaultInfinity: true })

t.test('every number is that of JSON.parse, or none', async (t) => {
  let taken = 0
  const isSame = (text: string) => {
    const { value, end } = read(text)
    if (Number.isNaN(value)) return true
    taken += 1
    return Object.is(value, JSON.parse(text)) && end === text.length
  }
  fc.assert(fc.property(written, isSame), { numRuns: 50_000 })
  fc.assert(fc.property(doubles.map(JSON.stringify), isSame), { numRuns: 20_000 })
  taken = 0
  const common = fc.maxSafeInteger().map((seed) => JSON.stringify(seed / 2 ** 46))
  fc.assert(fc.property(common, isSame), { numRuns: 20_000 })
  t.ok(taken > 10_000, `${taken} of 20,000 common numbers are read`)
})

t.test('what programs write is read', async (t) => {
  const random = fc.sample(fc.integer({ min: 2 ** 20, max: 2 ** 31 - 2 }), 2_000)
  for (const seed of random) {
    const parts = [seed / 2 ** 31, Math.fround(seed / 2 ** 31), seed, seed / 100, -seed / 7]
    const texts = parts.map(String)
    if (texts.some((text) => Number.isNaN(read(text).value))) t.fail(texts.join(' '))
  }
  for (const text of ['0', '-0', '0.0', '-0.0', '1e5', '1E-5', '9007199254740993', '1e22']) {
    t.ok(Object.is(read(text).value, JSON.parse(text)), text)
  }
})

/** The text of the middle between a double and the next: whoever rounds twice gets it wrong. */
t.test('ties and their neighbours are never wrong', async (t) => {
  for (const base of [1, 3, 5, 1025, 8191]) {
    for (const change of ['0', '1', '9']) {
      const tie = BigInt(base) * 2n ** 53n + 2n ** 40n * 1n
      const text = `${tie}`.slice(0, 18) + change
      const { value } = read(text)
      t.ok(Number.isNaN(value) || Object.is(value, JSON.parse(text)), text)
    }
  }
})

t.test('what is no number in JSON', async (t) => {
  const texts = [
    '01',
    '-01',
    '00',
    '1.',
    '.5',
    '-',
    '+1',
    '1e',
    '1e+',
    '1.e3',
    'NaN',
    'x',
    '',
    ' 1',
  ]
  for (const text of texts) t.ok(Number.isNaN(read(text).value), text)
})
