/**
 * Goal: times in answers are numbers of JSON to the microsecond, written the way JavaScript writes
 * them.
 *
 * Method: the pure functions, compared with what the language makes of the same times.
 */

import t from 'tap'
import { milliseconds, timingHead } from '../../../workers/predictions/envelope.ts'

const JOB = {
  endpoint: 0,
  verb: 'single',
  bytes: new Uint8Array(),
  ends: new Uint32Array(),
} as const

t.test('each microsecond of some milliseconds, and whatever fits into the number', async (t) => {
  const first = Array.from({ length: 3_000 }, (_, us) => us)
  const times = [...first, 59_999_990, 60_000_000, 600_000_001, 2 ** 32 - 1]
  const waitUs = Uint32Array.from(times)
  const heads = times.map((_, i) => timingHead({ ...JOB, waitUs }, i))
  t.same(
    heads,
    times.map((us) => `,"timing":{"wait":${us / 1_000}`),
  )
  t.same(
    times.map((us) => milliseconds(us / 1_000)),
    times.map((us) => String(us / 1_000)),
  )
})

t.test('what is finer is rounded, and what is less than nothing is nothing', async (t) => {
  t.equal(milliseconds(0.123_456), '0.123')
  t.equal(milliseconds(1.999_6), '2')
  t.equal(milliseconds(-0.000_1), '0')
  t.equal(milliseconds(-3), '0')
})
