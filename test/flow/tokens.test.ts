/**
 * Goal: services that ask for tokens work in a real node: keys fetched over TLS, given in the
 * config file or in a file beside it; callers are named in the query log; a bundle can name no
 * issuer that the operator has not. Method: an issuer on loopback with a certificate of its own,
 * which the node's system is told to trust.
 */

import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readConfig } from '../../core/config/config.ts'
import { authority, issue, withoutOpenssl } from '../tools/certificates.ts'
import { bundleOf, Client } from '../tools/client.ts'
import { linesSoFar } from '../tools/logged.ts'
import { startNode, startProcess } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'
import { AUDIENCE, ISSUER, newKey, publicJwk, sign, TokenIssuer } from '../tools/token-issuer.ts'
import { until } from '../tools/waiting.ts'

t.setTimeout(240_000)

const ASKED = { features: { f0: 4 } }

function temporary(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-tokens-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

function written(path: string, value: object): string {
  writeFileSync(path, JSON.stringify(value))
  chmodSync(path, 0o600)
  return path
}

async function newWorld(t: Test) {
  const folder = temporary(t)
  const ca = authority(folder, 'authority')
  const pair = issue(folder, 'issuer', { by: ca })
  const key = await newKey('one')
  const tls = { cert: readFileSync(pair.cert), key: readFileSync(pair.key) }
  const issuer = await new TokenIssuer([key]).open(t, tls)
  const jwks = { keys: [await publicJwk(key)] }
  written(join(folder, 'jwks.json'), jwks)
  const common = { issuer: ISSUER, audiences: [AUDIENCE], clientIdClaim: 'azp' }
  const issuers = {
    corp: { ...common, jwksUrl: issuer.url, allowPrivate: true },
    inside: { ...common, jwksUrl: issuer.url },
    fixed: { ...common, ...jwks },
    filed: { ...common, keysFile: join(folder, 'jwks.json') },
  }
  const config = written(join(folder, 'config.json'), { issuers })
  const env = { NODE_EXTRA_CA_CERTS: ca.cert }
  const node = await startNode(t, { env, args: ['--config', config] })
  const client = new Client(node)
  const ask = (service: string, token: string) =>
    client.query(`${service}/p/predict`, ASKED, bearer(token))
  return { node, client, key, issuer, ask }
}

type World = Awaited<ReturnType<typeof newWorld>>

const asking = (issuer: string, more: object = {}) => ({
  authorization: { method: 'OAUTH2', issuer, ...more },
})
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

async function whereKeysAre(t: Test, world: World): Promise<void> {
  const { node, client, key, issuer, ask } = world
  const token = await sign(key)
  for (const name of ['corp', 'fixed', 'filed']) {
    t.match(await ask(name, token), { status: 200, body: { result: { prediction: 4 } } }, name)
  }
  const before = issuer.asked
  const refused = await ask('inside', token)
  t.match(refused, { status: 503, body: { code: 'ERR_ISSUER_DOWN' } }, 'a private address')
  t.equal(refused.headers.get('retry-after'), '1')
  t.notMatch(JSON.stringify(refused.body), /127\.0\.0\.1/, 'callers are not told of it')
  const why = /127\.0\.0\.1 is none that may be fetched from; see allowPrivate/
  await until(() => why.test(node.log()))
  t.equal(issuer.asked, before)
  const { body } = await client.admin('GET', '/health')
  t.match(JSON.stringify(body), /issuer inside/, 'health names it')
}

async function refusals(t: Test, world: World): Promise<void> {
  const { client, key, ask } = world
  const none = await client.query('corp/p/predict', ASKED)
  t.match(none, { status: 401, body: { detailedMessage: /asks for a token/ } })
  t.equal(none.headers.get('www-authenticate'), 'Bearer realm="switchyard"')
  const expired = await ask('corp', await sign(key, { endsInS: -100 }))
  t.match(expired, { status: 401, body: { code: 'ERR_TOKEN_INVALID' } })
  t.match(expired.headers.get('www-authenticate'), /error="invalid_token".*expired/)
  const huge = await ask('corp', await sign(key, { claims: { padding: 'x'.repeat(7_000) } }))
  t.match(huge, { status: 401, body: { detailedMessage: /too long/ } })
  const monster = await fetch(client.queryUrl('corp/p/predict'), {
    method: 'POST',
    headers: bearer('x'.repeat(100_000)),
    body: '{}',
  }).then(
    ({ status }) => status,
    () => 'closed',
  )
  t.ok(monster === 431 || monster === 'closed', `${monster}`)
  const made = await client.admin('POST', '/auth/keys', {})
  t.match(await ask('corp', made.body.key), { status: 401 }, 'a key is no token')
  const basic = {
    authorization: `Basic ${Buffer.from(`${await sign(key)}:`).toString('base64')}`,
  }
  t.match(await client.query('corp/p/predict', ASKED, basic), { status: 401 })
  t.equal((await ask('corp', await sign(key))).status, 200, 'and the node goes on')
}

async function scopesAndLog(t: Test, world: World): Promise<void> {
  const { node, client, key, ask } = world
  const scoped = bundleOf(regressor(1), {}, asking('corp', { scopes: ['score'] }))
  await client.deploy('scoped', 'v1', scoped)
  await client.admin('PATCH', '/services/scoped/settings', { queryLog: 'all' })
  const lacking = await ask('scoped', await sign(key, { claims: { azp: 'crm', scope: 'x' } }))
  t.equal(lacking.status, 403)
  t.match(lacking.headers.get('www-authenticate'), /insufficient_scope", scope="score"/)
  const token = await sign(key, { claims: { azp: 'crm', scope: 'score' } })
  t.equal((await ask('scoped', token)).status, 200)
  await until(() => linesSoFar(node.home, 'scoped').length >= 2)
  const lines = linesSoFar(node.home, 'scoped')
  t.match(
    lines.find(({ status }) => status === 200),
    { key: 'crm' },
  )
  t.notMatch(JSON.stringify(lines), new RegExp(token.slice(-40)), 'tokens are not logged')
}

async function issuerIsDown(t: Test, world: World): Promise<void> {
  const { key, issuer, ask } = world
  const token = await sign(key)
  // Each at once, so each has a connection: every process that serves gets some of them.
  const first = await Promise.all(Array.from({ length: 32 }, () => ask('corp', token)))
  t.ok(first.every(({ status }) => status === 200))
  await issuer.close()
  t.equal((await ask('corp', token)).status, 200)
  t.equal((await ask('corp', await sign(key))).status, 200, 'also with a new token')
}

async function namesNoOther(t: Test, world: World): Promise<void> {
  const { client } = world
  await client.admin('POST', '/services', { serviceId: 'other' })
  const unknown = bundleOf(regressor(1), {}, asking('evil', { audiences: ['x'] }))
  const refused = await client.upload('other', 'v1', unknown)
  t.equal(refused.status, 400)
  t.match(refused.body.faults, [
    {
      path: 'authorization.issuer',
      reason: '"evil" is no issuer of this node; it knows corp, inside, fixed, filed',
    },
  ])
  const url = bundleOf(regressor(1), {}, asking('corp', { jwksUrl: 'https://evil.example/' }))
  t.match(await client.upload('other', 'v2', url), { status: 400, body: { faults: [{}] } })
}

t.test('services that ask for tokens', { skip: withoutOpenssl }, async (t) => {
  const world = await newWorld(t)
  for (const name of ['corp', 'inside', 'fixed', 'filed']) {
    await world.client.deploy(name, 'v1', bundleOf(regressor(1), {}, asking(name)))
  }
  await t.test('keys by address, in the file, and in a file of their own', (t) =>
    whereKeysAre(t, world),
  )
  await t.test('refusals', (t) => refusals(t, world))
  await t.test('scopes, and who is in the query log', (t) => scopesAndLog(t, world))
  await t.test('the issuer is down: who is known goes on', (t) => issuerIsDown(t, world))
  await t.test('a bundle names no issuer but those of the node', (t) => namesNoOther(t, world))
})

/** As a node reads it when it starts. */
function reading(config: string) {
  const readFile = (path: string): string => readFileSync(path, 'utf8')
  const argv = ['--config', config]
  return readConfig({ argv, env: {}, readFile, cores: 2, version: '1' })
}

t.test('issuers that are configured wrongly end the start with one line', async (t) => {
  const cases: [object, RegExp][] = [
    [{ jwksUrl: 'http://login.example.com/keys' }, /"issuers\.corp\.jwksUrl".*https/],
    [{ jwksUrl: 'http://127.0.0.1/keys' }, /"issuers\.corp\.jwksUrl".*allowPrivate/],
    [{ jwksUrl: 'https://a:b@login.example.com/' }, /no secret/],
    [{}, /says not where its keys are/],
    [{ keys: [{ kty: 'oct', k: 'x' }] }, /shared secret/],
    [{ keys: [{ kty: 'EC', d: 'x' }] }, /private/],
    [{ keysFile: 'nowhere.json' }, /"issuers\.corp\.keysFile"/],
  ]
  const folder = temporary(t)
  for (const [i, [fields, why]] of cases.entries()) {
    const issuers = { corp: { issuer: ISSUER, ...fields } }
    const config = written(join(folder, `${i}.json`), { issuers })
    const read = reading(config)
    t.match(read, { kind: 'wrong', line: why })
    t.notMatch(read, { line: /\n/ }, 'one line')
    // How a start ends does not depend on the reason.
    if (i > 0) continue
    const started = startProcess(t, { args: ['--config', config] })
    t.equal(await started.ended, 2)
    t.match(started.log(), why)
    t.equal(started.log().trim().split('\n').length, 1)
  }
})
