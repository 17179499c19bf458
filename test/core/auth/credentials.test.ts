/**
 * Goal: a key is found in every header that clients send it in, and in nothing else.
 * Method: headers as they come, and the digest of a known text.
 */

import t from 'tap'
import { digestOf, secretOf } from '../../../core/auth/credentials.ts'

t.test('credentials', async (t) => {
  const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`
  const cases: [string, string | null][] = [
    ['Bearer abc', 'abc'],
    ['bearer abc', 'abc'],
    [basic('abc:'), 'abc'],
    [basic('abc:ignored'), 'abc'],
    [basic(':abc'), null],
    [basic('abc'), null],
    ['Bearer', null],
    ['Bearer ', null],
    ['Token abc', null],
    ['', null],
    [`Bearer ${'a'.repeat(2_000)}`, null],
  ]
  for (const [header, secret] of cases) t.equal(secretOf(header), secret, header.slice(0, 20))
  t.equal(digestOf('a'), 'ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb')
})
