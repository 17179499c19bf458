/**
 * Goal: a header is known again, and no other header passes for it; nothing of it is kept.
 * Method: headers that differ little, many of them, and a look at what is held.
 */

import { inspect } from 'node:util'
import t from 'tap'
import { KnownHeaders } from '../../../core/auth/known-headers.ts'

const HEADER = 'Bearer sk_abcdefghijklmnopqrstuvwxyz0123456789'

t.test('it is known again, and nothing else is', async (t) => {
  const headers = new KnownHeaders()
  t.equal(headers.digestOf(HEADER), null)
  headers.remember(HEADER, 'digest')
  t.equal(headers.digestOf(HEADER), 'digest')
  const bytes = [...Buffer.from(HEADER)]
  for (const [at, byte] of bytes.entries()) {
    for (const other of [byte ^ 1, byte ^ 0x20, byte ^ 0x80]) {
      const changed = Buffer.from(bytes.with(at, other)).toString('latin1')
      if (headers.digestOf(changed) !== null) t.fail(changed)
    }
  }
  for (const other of [
    '',
    HEADER.slice(1),
    `${HEADER}\0`,
    `\0${HEADER}`,
    [...HEADER].reverse().join(''),
  ]) {
    t.equal(headers.digestOf(other), null, inspect(other))
  }
})

t.test('what it keeps is no secret', async (t) => {
  const headers = new KnownHeaders()
  headers.remember(HEADER, 'digest')
  t.notMatch(inspect(headers, { depth: 9, showHidden: true }), HEADER.slice(7))
})

t.test('long ones and other characters are left alone', async (t) => {
  const headers = new KnownHeaders()
  for (const header of ['a'.repeat(129), 'Bearer sk_\u0141', 'Bearer \u{1f600}']) {
    headers.remember(header, 'digest')
    t.equal(headers.digestOf(header), null)
  }
})

t.test('there are never more than so many', async (t) => {
  const headers = new KnownHeaders()
  for (let i = 0; i < 5_000; i++) headers.remember(`Bearer ${i}`, String(i))
  const known = Array.from({ length: 5_000 }, (_, i) => headers.digestOf(`Bearer ${i}`))
  t.equal(known.at(-1), '4999')
  t.ok(known.every((digest, i) => digest === null || digest === String(i)))
  t.ok(known.filter((digest) => digest !== null).length <= 1_024)
})
