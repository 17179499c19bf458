/**
 * Goal: whatever is asked and answered, its line is one line of JSON that tells of it.
 * Method: requests and answers of all kinds, also thousands of random ones, go through the side of
 * the main thread and through the composer; lines are decoded and parsed strictly, and compared.
 *
 * SEED=… repeats the random part of a run.
 */

import t from 'tap'
import { AppError } from '../../../core/base/errors.ts'
import { newSecret } from '../../../core/base/ids.ts'
import { LENT_BYTES_MIN } from '../../../core/dispatch/batch.ts'
import { effort, sayEffort } from '../../tools/effort.ts'
import { type Line, linesMade, linesOf, pendingOf } from '../../tools/logged.ts'
import { type Random, randomOf } from '../../tools/random.ts'

const KIB = 1024
const CUT_BYTES = 64 * KIB
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const GET = { method: 'GET', path: '/', headers: [] }

const ticketOf = (callerId: string) => ({ callerId, settled: () => {} })

t.test('the members of a line', async (t) => {
  const { record, lines } = linesMade()
  const body = '{"features":{"x":1},"context":{"who":"me"}}'
  const answer = '{"result":{"prediction":2},"timing":{"wait":1}}'
  record({ body, answer, beside: { ticket: ticketOf('key-1') } })
  const startMs = Date.now()
  record({ body, status: 504, answer: new AppError('ERR_DEADLINE', 'late'), requestId: 'r-1' })
  const [good, bad] = lines()
  t.same(Object.keys(good), [
    ...['time', 'service', 'endpoint', 'generation', 'key', 'status', 'totalMs'],
    ...['request', 'answer'],
  ])
  t.match(good, {
    time: TIME,
    ...{ service: 'svc', endpoint: 'score', generation: 'v1', key: 'key-1', status: 200 },
    request: JSON.parse(body),
    answer: JSON.parse(answer),
  })
  t.ok(Math.abs(Date.parse(good.time) - startMs) < 60_000, good.time)
  t.ok(good.totalMs >= 0 && good.totalMs < 60_000, `${good.totalMs} ms`)
  t.match(bad, { status: 504, error: { code: 'ERR_DEADLINE', message: /: late$/ } })
  t.equal(bad.requestId, 'r-1')
  t.same(bad.request, JSON.parse(body))
  t.notOk('key' in bad || 'answer' in bad, 'what there is not has no member')
})

t.test('requests that no lane has seen', async (t) => {
  const { log, lines } = linesMade()
  log.refused('key-1', new AppError('ERR_QUOTA', 'a "quoted"\nreason'), 'r-2')
  log.refused(null, new AppError('ERR_AUTH_MISSING'), null)
  const [quota, missing] = lines()
  t.match(quota, { key: 'key-1', status: 429, totalMs: 0, requestId: 'r-2' })
  t.match(quota.error, { code: 'ERR_QUOTA', message: /a "quoted"\nreason/ })
  t.match(missing, { status: 401, error: { code: 'ERR_AUTH_MISSING' } })
})

t.test('bodies and answers of all kinds', async (t) => {
  const { record, lines } = linesMade()
  const one = (body: Uint8Array | string, answer: string | Uint8Array): Line => {
    record({ body, answer })
    return lines()[0]
  }
  const ok = '{"ok":true}'
  const spread = one('{\r\n "a": "b\\n",\n\n "c": [1,\n2]}\n', ok)
  t.same(spread.request, { a: 'b\n', c: [1, 2] }, 'line ends between values')
  const foreign = one('{"a":"žluťoučký 🐎 \u2028"}', '{"b":"日本"}')
  t.same([foreign.request.a, foreign.answer.b], ['žluťoučký 🐎 \u2028', '日本'])
  t.same(one('{"a":NaN,"b":-Infinity,"c":"NaN"}', ok).request, { a: null, b: -Infinity, c: 'NaN' })
  t.same(one('{"a":"NaN and Infinity"}', ok).request, { a: 'NaN and Infinity' })
  t.equal(one('{"a":', Buffer.from('x')).requestText, '{"a":', 'no JSON')
  t.equal(one('', Buffer.from([0xff, 0xfe, 0, 0x41])).answerText, '\ufffd\ufffd\0A', 'binary')
  t.equal(one('\ufeff{}', Buffer.from('1')).requestText, '\ufeff{}', 'a mark is no JSON')
  t.same(one('[1]', Buffer.from('{"x":\n[true]}')).answer, { x: [true] }, 'JSON of code')
  t.equal(one('{}', Buffer.from('')).answerText, '')
  t.notOk('request' in one('', ok), 'no body, no member')
  const deep = '['.repeat(5_000) + ']'.repeat(5_000)
  t.equal(one(deep, Buffer.from('1')).requestText, deep, 'too deep for readers')
})

t.test('a body that was lent before anybody logged', async (t) => {
  const { log, record, lines } = linesMade()
  const body = `"${'x'.repeat(LENT_BYTES_MIN - 2)}"`
  record({ body, answer: '{}' })
  lines()
  const pending = pendingOf({ body })
  pending.body = new Uint8Array(0)
  log.record(pending, 200, '{"b":1}')
  const [line] = lines()
  t.same(line.answer, { b: 1 })
  t.notOk('request' in line || 'requestText' in line, 'and nothing that stood there before')
})

t.test('what is too long is cut, and says so', async (t) => {
  const { record, lines } = linesMade()
  const long = `{"a":"${'ž'.repeat(CUT_BYTES)}"}`
  const bytes = Buffer.byteLength(long)
  record({ body: long, answer: long })
  record({ body: long, answer: Buffer.from(long) })
  record({ body: long, answer: new AppError('ERR_BODY_INVALID', long) })
  for (const line of lines()) {
    t.same([line.requestBytes, line.truncated], [bytes, true])
    t.ok(long.startsWith(line.requestText.slice(0, -1)))
    t.ok(Buffer.byteLength(line.requestText) > CUT_BYTES - 4)
    t.notOk('request' in line)
    if (line.status === 200 && 'answerText' in line) t.equal(line.answerBytes, bytes)
  }
  const whole = `"${'a'.repeat(CUT_BYTES - 2)}"`
  record({ body: whole, answer: whole })
  const [line] = lines()
  t.same([line.request.length, line.answer.length], [CUT_BYTES - 2, CUT_BYTES - 2], 'the longest')
})

t.test('arguments in a URL', async (t) => {
  const { record, lines } = linesMade()
  const one = (query: string): string => {
    record({ answer: '{}', beside: { facts: { ...GET, query } } })
    return lines()[0].query
  }
  t.equal(one('x=1&name=%C5%BE%22'), 'x=1&name=%C5%BE%22', 'as sent')
  t.equal(one('a="\\&b=\u0001'), 'a="\\&b=\u0001')
  t.equal(one(''), '')
  t.equal(one('x=1&access_token=abc&y=2'), 'x=1&access_token=(hidden)&y=2')
  t.equal(one('apiKey=abc'), 'apiKey=(hidden)')
  t.equal(one('my_token_count=3'), 'my_token_count=3', 'a feature of its own')
  t.equal(one('"'.repeat(40_000)).length, Math.floor(CUT_BYTES / 6))
})

t.test('keys of the node are hidden wherever they come from', async (t) => {
  const key = newSecret()
  const subject = { serviceId: 'svc', endpointId: key, generationId: null }
  const made = linesMade(undefined, subject)
  const { record, log, text } = made
  record({ body: `{"a":"${key}"}`, answer: `{"headers":["Bearer ${key}"]}` })
  record({ body: `${key}`, answer: Buffer.from(`\xff${key}`, 'latin1') })
  record({ answer: '{}', beside: { facts: { ...GET, query: `k=${key}` } } })
  record({ body: 'x'.repeat(CUT_BYTES - 10) + key, answer: '{}' })
  log.refused(null, new AppError('ERR_ENDPOINT_UNKNOWN', `"${key}"`), 'r')
  const all = text()
  t.equal(linesOf(all).length, 5)
  t.notOk(all.includes(key.slice(3, 24)), 'nothing of it')
  t.match(linesOf(all)[0].request.a, /^sk_\*{43}$/)
  record({ body: '{"sk_learn_model_of_region_nr_7":1}', answer: '{}' })
  t.match(text(), '{"sk_learn_model_of_region_nr_7":1}', 'names that only begin alike')
})

t.test('the share of a sample', async (t) => {
  const { record, lines, log } = linesMade({ mode: 'sample', share: 0.1 })
  const asked = 50_000
  let found = 0
  for (let i = 0; i < asked; i++) {
    record({ answer: '{}' })
    if (i % 1_000 === 0) found += lines().length
  }
  found += lines().length
  const [mean, deviation] = [asked * 0.1, Math.sqrt(asked * 0.1 * 0.9)]
  t.ok(Math.abs(found - mean) < 6 * deviation, `${found} of about ${mean}`)
  for (let i = 0; i < 10; i++) record({ status: 503, answer: new AppError('ERR_STOPPING') })
  log.refused(null, new AppError('ERR_AUTH_MISSING'), null)
  t.equal(lines().length, 11, 'failures are always logged')
  const failures = linesMade({ mode: 'failures', share: 0 })
  for (let i = 0; i < 1_000; i++) failures.record({ answer: '{}' })
  failures.record({ status: 422, answer: Buffer.from('an answer of code') })
  t.same(
    failures.lines().map(({ status }: Line) => status),
    [422],
  )
})

t.test('random requests', async (t) => {
  const random = randomOf()
  const rounds = effort(3_000, 60_000)
  sayEffort({ lines: rounds, seed: random.seed })
  const { record, lines, count } = linesMade()
  const expected: { request: unknown; answer: unknown }[] = []
  let seen = 0
  const compare = (): void => {
    for (const line of lines()) {
      const { request = line.requestText, answer = line.answerText } = line
      const wanted = expected[seen]
      if (line.truncated !== true) {
        t.strictSame({ request, answer }, wanted, `line ${seen}`)
      }
      seen += 1
    }
  }
  for (let i = 0; i < rounds; i++) {
    const [request, answer] = [randomValue(random, 0), randomValue(random, 0)]
    const isText = random.below(2) === 0
    const text = pretty(random, answer)
    record({
      body: pretty(random, request),
      answer: isText ? text : Buffer.from(text),
    })
    expected.push({ request, answer })
    if (random.below(200) === 0) compare()
  }
  compare()
  t.equal(seen, rounds)
  t.same([count.recorded, count.settled, count.drain().written], [rounds, rounds, rounds])
})

/** As senders write JSON: with blanks and line ends, or without. */
function pretty(random: Random, value: unknown): string {
  return JSON.stringify(value, null, random.pick(['', ' ', '\t']))
}

const TEXTS = ['', 'NaN', '"', '\\', '\n\r', 'Infinity', 'ž', '🐎', '\u0000', '},"', 'sk_ ']

function randomValue(random: Random, depth: number): unknown {
  switch (random.below(depth > 3 ? 4 : 6)) {
    case 0:
      return random.below(1_000_000) / 1_000
    case 1:
      return random.pick([true, false, null])
    case 2:
    case 3:
      return random.pick(TEXTS).repeat(random.below(random.below(100) === 0 ? 30_000 : 4))
    case 4:
      return Array.from({ length: random.below(5) }, () => randomValue(random, depth + 1))
    default:
      return Object.fromEntries(
        Array.from({ length: random.below(5) }, (_, i) => [
          `${random.pick(TEXTS)}${i}`,
          randomValue(random, depth + 1),
        ]),
      )
  }
}
