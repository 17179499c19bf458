/**
 * Goal: every body of a batch is read as if it were alone, and what is no JSON is refused with a
 * reason, whatever stands beside it.
 *
 * Method: attacks and odd bodies beside good neighbours in one batch; every prefix and every
 * one-byte change of a valid body against JSON.parse as the oracle.
 */

import { isAscii } from 'node:buffer'
import fc from 'fast-check'
import t from 'tap'
import { parseBodies, parseText } from '../../workers/bodies.ts'
import { jobOf } from '../tools/plans.ts'

type Body = string | Uint8Array

function parse(bodies: readonly Body[]) {
  const { bytes, ends } = jobOf(bodies)
  return parseBodies(bytes, ends)
}

function value(text: string): unknown {
  const parsed = parseText(text)
  if (parsed.kind === 'refused') throw new Error(parsed.reason)
  return parsed.value
}

function reason(body: Body): string {
  const [parsed] = parse([body])
  return parsed?.kind === 'refused' ? parsed.reason : 'it was read'
}

const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`

t.test('two halves of JSON around a body of a stranger swallow nothing', async (t) => {
  const victim = '{"features":{"secret":42}}'
  const attacks: [string, string][] = [
    ['{"features":{"a":1},"x":[0', '0]},{"features":{"a":2}},{"y":[0'],
    ['{"features":{"a":1},"x":"', '"}'],
    ['[', ']'],
    ['{"features":{"a":1}},{"x":[', ']}'],
  ]
  for (const [before, behind] of attacks) {
    const [first, middle, last] = parse([before, victim, behind])
    t.equal(first?.kind, 'refused')
    t.same(middle, { kind: 'value', value: { features: { secret: 42 } } })
    t.equal(last?.kind, 'refused')
  }
})

t.test('the tokens that pandas sends bare', async (t) => {
  t.same(value('{"a":NaN,"b":[NaN,1]}'), { a: null, b: [null, 1] })
  t.same(value('[Infinity,-Infinity]'), [Infinity, -Infinity], 'refused later, by feature name')
  t.same(value('NaN'), null)
  const strings = '{"NaN":"NaN, -Infinity \\" NaN \\\\","b":NaN,"c":"Infinity"}'
  t.same(value(strings), { NaN: 'NaN, -Infinity " NaN \\', b: null, c: 'Infinity' })
  t.same(value(`{"a":"NaN ${'é'.repeat(10)}\\u0022NaN","b":NaN}`), {
    a: `NaN ${'é'.repeat(10)}"NaN`,
    b: null,
  })
  const wrong = ['-NaN', '+Infinity', '1NaN', 'NaN1', '1Infinity', '{NaN:1}', '[NaN', 'nan', 'NaNN']
  for (const text of [
    ...wrong,
    '1-Infinity',
    '"\\\nNaN"',
    '"NaN',
    '"a"NaN',
    'éNaN',
    '- Infinity',
  ]) {
    t.match(reason(text), /^the body is not JSON/, JSON.stringify(text))
  }
})

/** Of all threads, which no other program can lengthen much. */
function cpuMs(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1_000
}

t.test('a long text beside a bare NaN is read in linear time', async (t) => {
  const before = process.cpuUsage()
  t.same(value(`["${'x'.repeat(7_000_000)}",NaN]`), ['x'.repeat(7_000_000), null])
  t.match(reason(`[NaN,"${'\\"'.repeat(3_000_000)}`), /not JSON/)
  t.match(reason(`[${'"'.repeat(3_000_001)},NaN`), /not JSON/)
  t.ok(cpuMs(before) < 3_000, `took ${cpuMs(before)} ms of the processors' time`)
})

t.test('nesting ends at 64 levels, fast', async (t) => {
  t.same(JSON.stringify(value(nested(64))), nested(64))
  t.match(reason(nested(65)), /nested over 64 levels/)
  t.same(value(`"${'['.repeat(1_000)}"`), '['.repeat(1_000), 'brackets in a text do not count')
  const manyShallow = `[${new Array(1_000).fill('{"a":[1]}').join(',')}]`
  t.same(value(manyShallow), JSON.parse(manyShallow))
  t.match(reason(`["\\"",${nested(65)}]`), /nested/, 'an escaped quote ends no text')
  t.match(reason(`["\\\\",${nested(64)}]`), /nested/, 'an escaped backslash escapes no quote')
  for (const depth of [1_000, 100_000, 4_000_000]) {
    for (const text of [nested(depth), '['.repeat(depth), '{"a":'.repeat(depth)]) {
      const before = process.cpuUsage()
      t.match(parseText(text), { kind: 'refused', reason: /nested over 64 levels/ })
      t.ok(cpuMs(before) < 1_000, `depth ${depth} took no time`)
    }
  }
})

t.test('bytes that are no UTF-8 fail alone', async (t) => {
  const good = '{"a":"é"}'
  const bad = [[0xff], [0xc3], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xa9]]
  for (const bytes of bad) {
    const body = Buffer.concat([Buffer.from('{"a":"'), Uint8Array.from(bytes), Buffer.from('"}')])
    const [before, middle, after] = parse([good, body, good])
    t.same(middle, { kind: 'refused', reason: 'the body is not valid UTF-8' })
    t.same(
      [before, after],
      [value(good), value(good)].map((v) => ({ kind: 'value', value: v })),
    )
  }
  // The first byte of a character in one body and the second in the next make no character.
  const halves = parse([Uint8Array.of(0x22, 0xc3), Uint8Array.of(0xa9, 0x22), good])
  t.same(
    halves.map(({ kind }) => kind),
    ['refused', 'refused', 'value'],
  )
  t.same(value('"\\ud800"'), '\ud800', 'a lone surrogate is JSON; a model never gets it')
})

t.test('what is no JSON at all', async (t) => {
  t.equal(reason(''), 'the body is empty')
  t.equal(reason(' \n'), 'the body is empty')
  t.equal(reason('\ufeff{}'), 'the body starts with a byte order mark')
  t.equal(reason('\ufeff[NaN]'), 'the body starts with a byte order mark')
  for (const text of [
    '{a:1}',
    "{'a':1}",
    '[1,]',
    '[0x10]',
    '[1]//',
    '{} {}',
    '[01]',
    '\0',
    '[1\0]',
  ]) {
    t.match(reason(text), /^the body is not JSON/, JSON.stringify(text))
  }
  const [empty, full, last] = parse(['', '{"a":1}', ''])
  t.equal(empty?.kind, 'refused')
  t.same(full, { kind: 'value', value: { a: 1 } })
  t.equal(last?.kind, 'refused')
  t.ok(reason(`{"a":${'x'.repeat(5_000)}`).length < 200, 'little is echoed')
})

t.test('every prefix of a valid body is refused, in one batch with the body itself', async (t) => {
  const body = '{"features":{"é":1.5e3,"b":"x\\n\\u00e9","c":[true,null,-0]},"context":{"NaN":NaN}}'
  const bytes = Buffer.from(body)
  const prefixes = Array.from(bytes, (_, length) => bytes.subarray(0, length))
  const parsed = parse([...prefixes, bytes])
  t.equal(parsed.pop()?.kind, 'value')
  t.ok(parsed.every(({ kind }) => kind === 'refused'))
})

t.test('names of Object.prototype are plain data', async (t) => {
  const text = '{"__proto__":{"x":1},"constructor":{"prototype":{"x":1}},"toString":2}'
  const parsed = value(text)
  t.equal(JSON.stringify(parsed), text)
  t.equal(Reflect.get({}, 'x'), undefined)
})

t.test('numbers are what JSON.parse makes of them', async (t) => {
  t.same(value('[1e400,-1e400,1e-400]'), [Infinity, -Infinity, 0])
  t.ok(Object.is(value('-0'), -0))
  t.same(value('9007199254740993'), 2 ** 53)
})

t.test('any bytes: read as JSON.parse reads them alone, neighbours untouched', async (t) => {
  const seed = Date.now() | 0
  t.comment(`seed ${seed}`)
  const anyBody = fc.oneof(
    fc.json({ maxDepth: 5 }),
    fc.json().map((text) => text.slice(0, text.length / 2)),
    fc.string({ unit: 'grapheme' }),
    fc.uint8Array({ maxLength: 40 }),
  )
  const property = fc.property(fc.array(anyBody, { minLength: 1, maxLength: 6 }), (bodies) => {
    const parsed = parse(bodies)
    for (const [i, body] of bodies.entries()) {
      const bytes = Buffer.from(body as string)
      const [alone] = parse([bytes])
      t.strictSame(parsed[i], alone, { diagnostic: false })
      if (typeof body !== 'string' || !isStrict(body)) continue
      if (parsed[i]?.kind !== 'value') throw new Error(`not read: ${body}`)
      if (isAscii(bytes) && JSON.stringify(parsed[i].value) !== JSON.stringify(JSON.parse(body))) {
        throw new Error(`read differently: ${body}`)
      }
    }
  })
  fc.assert(property, { seed, numRuns: 300 })
})

function isStrict(text: string): boolean {
  try {
    JSON.parse(text)
    return text.charCodeAt(0) !== 0xfeff
  } catch {
    return false
  }
}
