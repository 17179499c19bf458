/**
 * Goal: whoever goes on with wrong keys is told to slow down, alone, for a while, in little memory.
 * Method: failures by hand, with windows that end when the test has waited for it.
 */

import t from 'tap'
import { WrongKeys } from '../../../core/auth/wrong-keys.ts'
import { AppError } from '../../../core/base/errors.ts'
import { until } from '../../tools/waiting.ts'

const unknown = () => new AppError('ERR_AUTH_UNKNOWN')
const LIMITS = { failuresMax: 3, windowMs: 60_000, addressesMax: 10 }

function codeOf(thrown: unknown): string {
  return thrown instanceof AppError ? thrown.code : String(thrown)
}

t.test('79: the first wrong ones are told what they are, the rest to wait', async (t) => {
  const wrongKeys = new WrongKeys(LIMITS)
  const codes = Array.from({ length: 5 }, () => codeOf(wrongKeys.judge(unknown(), 'a')))
  const told = 'ERR_AUTH_UNKNOWN'
  t.same(codes, [told, told, told, 'ERR_AUTH_LIMITED', 'ERR_AUTH_LIMITED'])
  t.equal(codeOf(wrongKeys.judge(new AppError('ERR_TOKEN_INVALID'), 'a')), 'ERR_AUTH_LIMITED')
  t.match(wrongKeys.judge(unknown(), 'a'), { status: 429, headers: { 'Retry-After': '60' } })
  t.equal(codeOf(wrongKeys.judge(unknown(), 'b')), told, 'another address is another caller')
})

t.test('what is no wrong secret is neither counted nor changed', async (t) => {
  const wrongKeys = new WrongKeys(LIMITS)
  const others = [new AppError('ERR_AUTH_MISSING'), new AppError('ERR_AUTH_FORBIDDEN'), new Error()]
  for (let round = 0; round < 10; round += 1) {
    for (const other of others) t.equal(wrongKeys.judge(other, 'a'), other)
  }
  t.equal(codeOf(wrongKeys.judge(unknown(), 'a')), 'ERR_AUTH_UNKNOWN')
})

t.test('a window ends, and no crowd of addresses fills the memory', async (t) => {
  const short = new WrongKeys({ ...LIMITS, failuresMax: 1, windowMs: 30 })
  short.judge(unknown(), 'a')
  t.equal(codeOf(short.judge(unknown(), 'a')), 'ERR_AUTH_LIMITED')
  await until(() => codeOf(short.judge(unknown(), 'a')) === 'ERR_AUTH_UNKNOWN')
  const crowded = new WrongKeys({ ...LIMITS, failuresMax: 1 })
  for (let address = 0; address < 1_000; address += 1) crowded.judge(unknown(), `a${address}`)
  t.equal(codeOf(crowded.judge(unknown(), 'a1')), 'ERR_AUTH_UNKNOWN', 'counts began anew')
})
