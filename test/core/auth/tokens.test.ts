/**
 * Goal: a token opens a service exactly when its issuer has signed it for that, and whatever
 * becomes of the issuer known keys go on. Method: real signatures; an issuer on loopback that goes
 * down, changes its keys, says nothing; times of the cache that are extreme, so that no test waits.
 */

import { createHmac, createPublicKey, type KeyObject } from 'node:crypto'
import t, { type Test } from 'tap'
import { type Admission, Issuers, type TokenGate } from '../../../core/auth/issuers.ts'
import { KEY_TIMES, type KeyTimes } from '../../../core/auth/key-cache.ts'
import { AppError } from '../../../core/base/errors.ts'
import { SILENT } from '../../../core/base/logger.ts'
import type { TokenPlan } from '../../../core/bundle/plan.ts'
import type { IssuerSettings, Jwk } from '../../../core/config/issuers.ts'
import {
  AUDIENCE,
  type Behaviour,
  ISSUER,
  newKey,
  publicJwk,
  type SigningKey,
  sign,
  TokenIssuer,
} from '../../tools/token-issuer.ts'
import { until } from '../../tools/waiting.ts'

const PLAN: TokenPlan = { issuer: 'corp', audiences: [], scopes: [] }

interface Wish {
  readonly settings?: Partial<IssuerSettings>
  readonly times?: Partial<KeyTimes>
  readonly plan?: Partial<TokenPlan>
  readonly onChange?: () => void
}

function issuersOf({ settings, times, onChange = () => {} }: Wish): Issuers {
  const one: IssuerSettings = {
    name: 'corp',
    issuer: ISSUER,
    jwksUrl: null,
    keys: null,
    audiences: [AUDIENCE],
    clientIdClaim: 'azp',
    clockToleranceS: 0,
    allowPrivate: true,
    ...settings,
  }
  const all = { ...KEY_TIMES, ...times }
  return new Issuers({ settings: [one], times: all, logger: SILENT, onChange })
}

function gateOf(wish: Wish): TokenGate {
  return issuersOf(wish).gateOf({ ...PLAN, ...wish.plan })
}

async function fixed(keys: readonly SigningKey[], wish: Wish = {}): Promise<TokenGate> {
  const jwks = (await Promise.all(keys.map(publicJwk))) as Jwk[]
  return gateOf({ ...wish, settings: { keys: jwks, ...wish.settings } })
}

const fetched = (issuer: TokenIssuer, wish: Wish = {}): TokenGate =>
  gateOf({ ...wish, settings: { jwksUrl: issuer.url, ...wish.settings } })

/** `in`, with the caller's name; else the code of the refusal and what it says. */
async function outcome(admission: Admission): Promise<string> {
  const found = await admission
  if (!(found instanceof AppError)) return `in ${found.callerId}`
  return `${found.code} ${found.detail}`
}

function challengeOf(found: Awaited<Admission>): string {
  return found instanceof AppError ? (found.headers?.['WWW-Authenticate'] ?? '') : ''
}

t.test('signatures of every kind, with a key id and without', async (t) => {
  const kinds = ['RS256', 'PS384', 'ES256', 'ES384', 'EdDSA']
  const keys = await Promise.all(kinds.map((alg) => newKey(`of-${alg}`, alg)))
  const gate = await fixed(keys)
  for (const key of keys) {
    t.equal(await outcome(gate.admit(await sign(key))), 'in null', key.alg)
    const nameless = await sign(key, { header: { kid: undefined } })
    t.equal(await outcome(gate.admit(nameless)), 'in null', `${key.alg} without kid`)
  }
  const twins = [await newKey('a'), await newKey('b')]
  const either = await fixed(twins)
  for (const twin of twins) {
    const nameless = await sign(twin, { header: { kid: undefined } })
    t.equal(await outcome(either.admit(nameless)), 'in null', 'one of several fits')
  }
  const foreign = await sign(await newKey('c'), { header: { kid: undefined } })
  t.match(await outcome(either.admit(foreign)), /ERR_TOKEN_INVALID its signature/)
})

t.test('a token that was good is known, and named by its claim', async (t) => {
  const key = await newKey('a')
  const gate = await fixed([key])
  const token = await sign(key, { claims: { azp: 'crm' } })
  const first = gate.admit(token)
  t.ok(first instanceof Promise, 'its signature is checked off the thread')
  t.equal(await outcome(first), 'in crm')
  t.notOk(gate.admit(token) instanceof Promise, 'then it is known')
  t.equal(await outcome(gate.admit(token)), 'in crm')
  const long = await sign(key, { claims: { azp: 'x'.repeat(1_000) } })
  t.equal((await outcome(gate.admit(long))).length, 'in '.length + 256)
  const odd = await sign(key, { claims: { azp: { a: 1 } } })
  t.equal(await outcome(gate.admit(odd)), 'in null')
})

function parts(token: string): [string, string, string] {
  const [head = '', payload = '', signature = ''] = token.split('.')
  return [head, payload, signature]
}

const encoded = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** What takes a public key for a shared secret would find this signature good. */
function confused(token: string, key: KeyObject | string): string {
  const [, payload] = parts(token)
  const signed = `${encoded({ alg: 'HS256', kid: 'a' })}.${payload}`
  const secret = typeof key === 'string' ? key : key.export({ type: 'spki', format: 'pem' })
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

t.test('what opens nothing, and why', async (t) => {
  const key = await newKey('a', 'RS256')
  const stranger = await newKey('a', 'RS256')
  const gate = await fixed([key])
  const good = await sign(key)
  const [head, payload, signature] = parts(good)
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString())
  const jwk = JSON.parse(JSON.stringify(await publicJwk(key)))
  const pem = createPublicKey({ key: jwk, format: 'jwk' })
  const embedded = { jwk: await publicJwk(stranger), jku: 'https://evil.example/keys' }
  const now = Math.floor(Date.now() / 1_000)
  const refused: [string, string, RegExp][] = [
    ['no signature (alg none)', `${encoded({ alg: 'none' })}.${payload}.`, /alg|form/],
    [
      'alg none with a signature',
      `${encoded({ alg: 'none' })}.${payload}.${signature}`,
      /alg|form/,
    ],
    ['the public key as a secret, PEM', confused(good, pem), /alg/],
    ['the public key as a secret, n', confused(good, jwk.n), /alg/],
    ['other claims', `${head}.${encoded({ ...claims, sub: 'boss' })}.${signature}`, /signature/],
    ['another signature', `${head}.${payload}.${parts(await sign(key))[2]}`, /signature/],
    ['a signature that is cut', good.slice(0, -8), /signature|form/],
    ['a key of somebody else', await sign(stranger), /signature/],
    ['a key that travels in the token', await sign(stranger, { header: embedded }), /signature/],
    ['an unknown key', await sign(key, { header: { kid: 'b' } }), /no key/],
    [
      'a must that is not understood',
      `${encoded({ alg: 'RS256', kid: 'a', crit: ['x'], x: 1 })}.${payload}.${signature}`,
      /form|signature/,
    ],
    ['another issuer', await sign(key, { claims: { iss: 'https://evil.example/' } }), /"iss"/],
    ['no issuer', await sign(key, { claims: { iss: undefined } }), /"iss"/],
    ['another audience', await sign(key, { claims: { aud: 'others' } }), /"aud"/],
    ['no audience', await sign(key, { claims: { aud: undefined } }), /"aud"/],
    ['expired', await sign(key, { endsInS: -1 }), /expired/],
    ['endless', await sign(key, { endsInS: null }), /says not when/],
    ['not yet', await sign(key, { claims: { nbf: now + 60 } }), /not valid yet/],
    ['no token', 'sk_something', /no JWT/],
    ['three empty parts', '..', /no JWT/],
    [
      'claims that are no object',
      `${head}.${Buffer.from('[1]').toString('base64url')}.x`,
      /no JWT/,
    ],
  ]
  for (const [what, token, why] of refused) {
    const found = await gate.admit(token)
    const said = await outcome(found)
    t.match(said, /^ERR_TOKEN_INVALID /, what)
    t.match(said, why, what)
    t.match(challengeOf(found), /^Bearer realm="switchyard", error="invalid_token", error_desc/)
    t.notMatch(challengeOf(found), /evil|boss|others/, 'nothing of the token is told')
  }
  t.equal(await outcome(gate.admit(good)), 'in null', 'the good one is good still')
})

t.test('clocks may differ as far as is allowed', async (t) => {
  const key = await newKey('a')
  const gate = await fixed([key], { settings: { clockToleranceS: 60 } })
  const now = Math.floor(Date.now() / 1_000)
  t.equal(await outcome(gate.admit(await sign(key, { endsInS: -30 }))), 'in null')
  t.match(await outcome(gate.admit(await sign(key, { endsInS: -90 }))), /expired/)
  t.equal(await outcome(gate.admit(await sign(key, { claims: { nbf: now + 30 } }))), 'in null')
})

t.test('a known token ends when it expires', async (t) => {
  const key = await newKey('a')
  const gate = await fixed([key])
  const token = await sign(key, { endsInS: 2 })
  t.equal(await outcome(gate.admit(token)), 'in null')
  await until(async () => (await outcome(gate.admit(token))) !== 'in null')
  t.match(await outcome(gate.admit(token)), /ERR_TOKEN_INVALID it has expired/)
})

t.test('audiences and scopes are those of the service', async (t) => {
  const key = await newKey('a')
  const jwks = [(await publicJwk(key)) as Jwk]
  const issuers = issuersOf({ settings: { keys: jwks } })
  const gate = (plan: Partial<TokenPlan>) => issuers.gateOf({ ...PLAN, ...plan })
  const both = await sign(key, { claims: { aud: ['x', 'mine'], scope: 'read score' } })
  t.equal(await outcome(gate({ audiences: ['mine', 'other'] }).admit(both)), 'in null')
  t.match(await outcome(gate({}).admit(both)), /"aud"/, 'the same token elsewhere')
  const mine = { audiences: ['mine'] }
  t.equal(await outcome(gate({ ...mine, scopes: ['score', 'read'] }).admit(both)), 'in null')
  const lacking = await gate({ ...mine, scopes: ['score', 'write'] }).admit(both)
  t.equal(await outcome(lacking), 'ERR_AUTH_FORBIDDEN the token lacks the scope "write"')
  t.match(challengeOf(lacking), /error="insufficient_scope", scope="score write"$/)
  const listed = await sign(key, { claims: { aud: 'mine', scp: ['score'] } })
  t.equal(await outcome(gate({ ...mine, scopes: ['score'] }).admit(listed)), 'in null')
})

t.test('keys are fetched once, and go on while the issuer is down', async (t) => {
  const key = await newKey('a')
  const issuer = await new TokenIssuer([key]).open(t)
  let changes = 0
  const onChange = () => {
    changes += 1
  }
  const gate = fetched(issuer, { times: { freshMs: 0, retryMs: 0, coolDownMs: 0 }, onChange })
  const several = await Promise.all(Array.from({ length: 20 }, () => sign(key)))
  const outcomes = await Promise.all(several.map((token) => outcome(gate.admit(token))))
  t.same(new Set(outcomes), new Set(['in null']))
  t.ok(issuer.asked <= 2, `${issuer.asked} requests for twenty tokens at once`)
  issuer.behaviour = 'refuses'
  await until(async () => {
    await outcome(gate.admit(await sign(key)))
    return !gate.status().up
  })
  t.match(gate.status(), { subject: 'issuer corp', detail: /cannot be fetched/ })
  t.equal(await outcome(gate.admit(await sign(key))), 'in null', 'a new token, by old keys')
  t.notOk(gate.admit(several[0] ?? '') instanceof Promise, 'known ones do not wait')
  await issuer.close()
  t.equal(await outcome(gate.admit(await sign(key))), 'in null')
  t.equal(changes, 1, 'it went down once')
})

t.test('old keys end at last', async (t) => {
  const key = await newKey('a')
  const issuer = await new TokenIssuer([key]).open(t)
  const times = { freshMs: 0, keptMs: 150, retryMs: 0, coolDownMs: 0 }
  const gate = fetched(issuer, { times })
  const token = await sign(key)
  t.equal(await outcome(gate.admit(token)), 'in null')
  issuer.behaviour = 'refuses'
  await until(async () => (await outcome(gate.admit(token))) !== 'in null')
  t.match(await outcome(gate.admit(token)), /^ERR_ISSUER_DOWN/)
  issuer.behaviour = 'answers'
  await until(async () => (await outcome(gate.admit(token))) === 'in null')
  t.ok(gate.status().up)
})

t.test('new keys are found by the first token that names one', async (t) => {
  const old = await newKey('old')
  const next = await newKey('new')
  const issuer = await new TokenIssuer([old]).open(t)
  const gate = fetched(issuer, { times: { coolDownMs: 0 } })
  const token = await sign(old)
  t.equal(await outcome(gate.admit(token)), 'in null')
  t.equal(issuer.asked, 1)
  issuer.keys = [old, next]
  const crowd = await Promise.all(Array.from({ length: 50 }, () => sign(next)))
  const outcomes = await Promise.all(crowd.map((one) => outcome(gate.admit(one))))
  t.same(new Set(outcomes), new Set(['in null']))
  t.equal(issuer.asked, 2, 'fifty tokens, one request')
  issuer.keys = [next]
  const unknown = await sign(await newKey('elsewhere'))
  t.match(await outcome(gate.admit(unknown)), /no key/)
  t.equal(issuer.asked, 3)
  t.match(await outcome(gate.admit(token)), /no key/, 'what was withdrawn opens nothing')
  t.equal(await outcome(gate.admit(crowd[0] ?? '')), 'in null')
})

t.test('made-up key ids do not make the node ask without end', async (t) => {
  const key = await newKey('a')
  const issuer = await new TokenIssuer([key]).open(t)
  const gate = fetched(issuer)
  t.equal(await outcome(gate.admit(await sign(key))), 'in null')
  for (let i = 0; i < 20; i += 1) {
    const token = await sign(key, { header: { kid: `made-up-${i}` } })
    t.match(await outcome(gate.admit(token)), /^ERR_TOKEN_INVALID its issuer has no key/)
  }
  const foreign = await sign(key, { claims: { iss: 'x' }, header: { kid: 'z' } })
  t.match(await outcome(gate.admit(foreign)), /"iss"/)
  t.equal(issuer.asked, 1)
})

t.test('an issuer that says nothing makes only its own new tokens wait', async (t) => {
  const key = await newKey('a')
  const issuer = await new TokenIssuer([key]).open(t)
  issuer.behaviour = 'is silent'
  const jwks = [(await publicJwk(key)) as Jwk]
  const shared = { issuer: ISSUER, audiences: [AUDIENCE], clientIdClaim: 'azp', clockToleranceS: 0 }
  const issuers = new Issuers({
    settings: [
      { ...shared, name: 'slow', jwksUrl: issuer.url, keys: null, allowPrivate: true },
      { ...shared, name: 'quick', jwksUrl: null, keys: jwks, allowPrivate: false },
    ],
    times: { ...KEY_TIMES, timeoutMs: 1_000 },
    logger: SILENT,
    onChange: () => {},
  })
  let isOver = false
  const waiting = outcome(issuers.gateOf({ ...PLAN, issuer: 'slow' }).admit(await sign(key)))
  void waiting.then(() => {
    isOver = true
  })
  const quick = issuers.gateOf({ ...PLAN, issuer: 'quick' })
  t.equal(await outcome(quick.admit(await sign(key))), 'in null')
  t.equal(isOver, false, 'the other one waits still')
  t.equal(await waiting, 'ERR_ISSUER_DOWN issuer "slow"', 'and not for ever')
  t.equal(issuer.asked, 1)
  const nobody = issuers.gateOf({ ...PLAN, issuer: 'nobody' })
  t.match(await outcome(nobody.admit('x')), /ERR_ISSUER_DOWN "nobody" is not among the issuers/)
})

t.test('answers that are no keys', async (t) => {
  const key = await newKey('a')
  const issuer = await new TokenIssuer([key]).open(t)
  const said: string[] = []
  const say = (fields: { reason?: string }) => void said.push(String(fields.reason))
  const logger = { ...SILENT, warn: say }
  const cases: [Behaviour, RegExp][] = [
    ['refuses', /answered 500/],
    ['redirects', /answered 302; redirects are not followed/],
    ['says nonsense', /JSON/],
    ['has no keys', /no key for signatures/],
    ['has secrets', /no key for signatures/],
    ['says too much', /over 262144 bytes/],
  ]
  for (const [behaviour, why] of cases) {
    issuer.behaviour = behaviour
    const settings = { name: 'corp', issuer: ISSUER, jwksUrl: issuer.url, keys: null }
    const more = { audiences: [AUDIENCE], clientIdClaim: 'sub', clockToleranceS: 0 }
    const one = { ...settings, ...more, allowPrivate: true }
    const before = issuer.asked
    const gate = new Issuers({ settings: [one], logger, onChange: () => {} }).gateOf(PLAN)
    t.match(await outcome(gate.admit(await sign(key))), /^ERR_ISSUER_DOWN/, behaviour)
    t.match(said.at(-1), why)
    t.equal(issuer.asked, before + 1, 'nothing is asked twice')
  }
})

t.test('addresses inside are refused unless that is allowed', async (t: Test) => {
  const key = await newKey('a')
  const issuer = await new TokenIssuer([key]).open(t)
  const port = new URL(issuer.url).port
  const urls = [
    `https://127.0.0.1:${port}/`,
    `https://localhost:${port}/`,
    `https://[::1]:${port}/`,
  ]
  for (const jwksUrl of [...urls, issuer.url]) {
    const gate = gateOf({ settings: { jwksUrl, allowPrivate: false } })
    t.match(await outcome(gate.admit(await sign(key))), /^ERR_ISSUER_DOWN/, jwksUrl)
  }
  t.equal(issuer.asked, 0, 'nobody was even connected to')
})
