/**
 * Goal: programs that ask Dataiku's API node work against this one, also where something is in
 * their way. Method: its APINodeClient, unmodified, against services that ask for keys or tokens,
 * explain their predictions, are full, late or off; what it returns or raises is looked at.
 */

import { generateKeyPairSync, sign } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { zip } from '../../bench/workloads/zip-writer.ts'
import { bundleOf, Client, type Reply } from '../tools/client.ts'
import { BARE, type Calls, type Dataiku, dataiku, whyNoDataiku } from '../tools/dataiku.ts'
import { refused } from '../tools/dataiku-admin.ts'
import { freshHome, startNode, type TestNode } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'
import { whyNoPython } from '../tools/python-endpoints.ts'

t.setTimeout(240_000)

const ROWS = [
  { f0: 0, f1: 0, f2: 0 },
  { f0: 2, f1: 4, f2: 6 },
]
const FEATURES = { f0: 10, f1: 1, f2: -5 }

/** Of a linear model they are exact: what a feature is more than in the background. */
const EXACT = { f0: 9, f1: -1, f2: -8 }

/** A model with a background, beside functions that wait for a file or end their process. */
function mixedBundle(): Buffer {
  const functions = `
import os, time

def hold(path, seconds=60):
    ends = time.monotonic() + seconds
    while not os.path.exists(path) and time.monotonic() < ends:
        time.sleep(0.01)
    return 'held'

def hello(name='nobody'):
    return {'hello': name}

def leave():
    os._exit(3)
`
  const run = { type: 'PYTHON_FUNCTION', file: 'functions.py', children: 1 }
  const endpoints = [
    {
      id: 'p',
      type: 'STD_PREDICTION',
      model: 'model.onnx',
      explanations: { background: 'rows.json', nExplanations: 2 },
    },
    { ...run, id: 'hello', function: 'hello' },
    { ...run, id: 'leave', function: 'leave' },
    { ...run, id: 'full', function: 'hold', queue: { maxRequests: 1 }, timeoutMs: 120_000 },
    { ...run, id: 'late', function: 'hold', timeoutMs: 200 },
  ]
  return zip([
    { name: 'service.json', data: JSON.stringify({ formatVersion: 1, endpoints }) },
    { name: 'model.onnx', data: regressor(3) },
    { name: 'rows.json', data: JSON.stringify(ROWS) },
    { name: 'functions.py', data: functions },
  ])
}

async function keys(t: Test, { client, python, node }: Place): Promise<Calls> {
  const made = await client.admin('POST', '/auth/keys', { allowedServices: ['q'] })
  const other = await client.admin('POST', '/auth/keys', { allowedServices: ['tokens'] })
  const ask = (...credentials: readonly [readonly string[], object?]) =>
    python.client('APINodeClient', [node.url, 'q', ...credentials[0]], credentials[1])
  const predict = ['predict_record', ['p', FEATURES]] as const
  const asBasic = await ask([made.body.key])
  const asBearer = await ask([], { bearer_token: made.body.key })
  for (const calls of [asBasic, asBearer]) {
    t.match((await calls(predict)).returned, { result: { prediction: 6, ignored: false } })
  }
  refused(t, await (await ask([]))(predict), /^AuthMissing: an API key is required: .*Bearer KEY/)
  refused(t, await (await ask(['nobody']))(predict), /^AuthUnknown: the API key is not known/)
  refused(
    t,
    await (await ask([], { bearer_token: other.body.key }))(predict),
    /^AuthForbidden: .*the key does not open "q"$/,
  )
  await client.admin('DELETE', `/auth/keys/${other.body.id}`)
  refused(t, await (await ask([other.body.key]))(predict), /^AuthUnknown: /)
  return asBasic
}

/** A token of the issuer that the node's config file names. */
async function tokens(t: Test, place: Place): Promise<void> {
  const { python, node, signed } = place
  const bundle = bundleOf(
    regressor(3),
    {},
    { authorization: { method: 'OAUTH2', issuer: 'corp', audiences: ['switchyard'] } },
  )
  await place.client.deploy('tokens', 'v1', bundle)
  const ask = (bearer_token: string) =>
    python.client('APINodeClient', [node.url, 'tokens'], { bearer_token })
  const predict = ['predict_record', ['p', FEATURES]] as const
  const right = await (await ask(signed({ aud: 'switchyard' })))(predict)
  t.match(right.returned, { result: { prediction: 6 } }, String(right.text))
  refused(t, await (await ask(signed({ aud: 'other' })))(predict), /^TokenInvalid: .*audience/)
  refused(t, await (await ask('a.b.c'))(predict), /^TokenInvalid: /)
  const none = await python.client('APINodeClient', [node.url, 'tokens'])
  refused(t, await none(predict), /^AuthMissing: .*token \(JWT\)/)
}

async function explanations(t: Test, calls: Calls): Promise<void> {
  const explain = async (more: object = {}, features: object = FEATURES) => {
    const said = await calls(['predict_record', ['p', features, null, null, null, true], more])
    return said.returned?.result ?? said
  }
  t.notOk('explanations' in (await calls(['predict_record', ['p', FEATURES]])).returned.result)
  const two = await explain()
  t.same(Object.keys(two.explanations), ['f0', 'f2'], 'as many as service.json says, largest first')
  for (const method of ['SHAPLEY', 'ICE']) {
    const all = await explain({ explanation_method: method, n_explanations: 3 })
    t.same(Object.keys(all.explanations), ['f0', 'f2', 'f1'], method)
    for (const [name, value] of Object.entries(EXACT)) {
      const far = Math.abs(all.explanations[name] - value)
      t.ok(far < 1.5, `${method}: ${name} is ${all.explanations[name]}`)
    }
    if (method === 'ICE') continue
    const sum = all.explanations.f0 + all.explanations.f1 + all.explanations.f2
    t.ok(Math.abs(sum + all.explanationBase - 6) < 1e-4, 'they add up to the prediction')
  }
  const more = { n_explanations: 1, n_explanations_mc_steps: 25 }
  t.same(Object.keys((await explain(more)).explanations), ['f0'])
  const multi = await calls([
    'predict_records',
    ['p', [{ features: FEATURES }, { features: { f0: 'x' } }, { features: FEATURES }]],
    { with_explanations: true, explanation_method: 'ICE', n_explanations: 3 },
  ])
  t.match(multi.returned.results, [
    { prediction: 6, explanations: { f0: Number } },
    { ignored: true, ignoreReason: 'INVALID_FEATURE', error: { message: /f0/ } },
    { prediction: 6, explanations: { f2: Number } },
  ])
  for (const [wrong, text] of [
    [{ explanation_method: 'LIME' }, /method/],
    [{ n_explanations_mc_steps: 24 }, /nMonteCarloSteps/],
    [{ n_explanations_mc_steps: 1_001 }, /nMonteCarloSteps/],
    [{ n_explanations: 0 }, /nExplanations/],
  ] as const) {
    refused(t, await explain(wrong), text)
  }
}

async function rows(t: Test, calls: Calls): Promise<void> {
  const { nan, infinity, minus } = BARE
  const bad = [
    { ...FEATURES, f0: nan },
    { ...FEATURES, f1: infinity },
    { ...FEATURES, f2: minus },
  ]
  const some = [FEATURES, ...bad, { f0: 1 }, { ...FEATURES, f0: 11 }]
  const items = some.map((features, n) => ({ features, context: { n } }))
  const { returned, text } = await calls(['predict_records', ['p', items]])
  t.match(
    returned?.results,
    [
      { prediction: 6, ignored: false },
      { ignored: true, error: { code: 'ERR_FEATURE_INVALID', message: /"f0" is missing/ } },
      { ignored: true, error: { code: 'ERR_FEATURE_INVALID', message: /"f1"/ } },
      { ignored: true, error: { code: 'ERR_FEATURE_INVALID', message: /"f2"/ } },
      { ignored: true, error: { message: /"f1" is missing/ } },
      { prediction: 7, ignored: false },
    ],
    String(text),
  )
  const [, ...single] = some
  for (const features of single.slice(0, 4)) {
    refused(t, await calls(['predict_record', ['p', features]]), /^FeatureInvalid: .*feature "f\d"/)
  }
  const context = { context: { screen: 'checkout', nested: [1, { a: null }] } }
  const told = await calls(['predict_record', ['p', FEATURES], context])
  t.match(told.returned, {
    result: { prediction: 6 },
    timing: { wait: Number, prediction: Number },
    apiContext: { serviceId: 'q', endpointId: 'p', serviceGeneration: 'v1' },
  })
  t.same((await calls(['predict_records', ['p', []]])).returned?.results ?? [], [])
}

async function functions(t: Test, calls: Calls): Promise<void> {
  // Both send a body of no bytes.
  const hello = await calls(['run_function', ['hello']])
  t.match(hello.returned, { response: { hello: 'nobody' } })
  const named = await calls(['run_function', ['hello'], { name: 'Ada Łovelace' }])
  t.match(named.returned, { response: { hello: 'Ada Łovelace' } })
  const nan = await calls(['run_function', ['hello'], { name: BARE.nan }])
  t.match(nan.returned, { response: { hello: null } }, 'no answer holds NaN')
}

async function failures(t: Test, { client, node, folder }: Place, calls: Calls): Promise<void> {
  const predict = ['predict_record', ['p', FEATURES]] as const
  refused(t, await calls(['predict_record', ['none', FEATURES]]), /^EndpointUnknown: .*no endpoint/)
  refused(t, await calls(['run_function', ['p']]), /^PathUnknown: .*"p" is a STD_PREDICTION: use/)
  refused(t, await calls(['sql_query', ['hello', {}]]), /^PathUnknown: .*"hello" is a PYTHON_FUN/)
  refused(t, await calls(['lookup_record', ['p', {}]]), /^PathUnknown: .*"p" is a STD_PREDICTION/)
  refused(t, await calls(['lookup_records', ['p', []]]), /^PathUnknown: .*"p" is a STD_PREDICTION/)
  const forced = ['predict_record', ['p', FEATURES, 'v9']] as const
  refused(t, await calls(forced), /^GenerationUnknown: .*"v9" is not loaded; loaded: "v1"$/)
  refused(t, await calls(['run_function', ['leave']]), /^ChildLost: the process that ran this/)
  const never = join(folder, 'never')
  const late = ['run_function', ['late'], { path: never, seconds: 1 }] as const
  refused(t, await calls(late), /^Deadline: the deadline passed before the answer was ready: ./)

  const free = join(folder, 'free')
  const key = (await client.admin('POST', '/auth/keys', { allowedServices: ['q'] })).body.key
  const hold = () => client.query('q/full/run', { path: free }, { authorization: `Bearer ${key}` })
  // What is not refused at once is in the node: one runs then, and one waits.
  const held: Promise<Reply>[] = []
  while (held.length < 2) {
    const one = hold()
    const refusal = await Promise.race([one, sleep(1_000, null)])
    if (refusal === null) held.push(one)
    else t.equal(refusal.status, 429)
  }
  const full = await calls(['run_function', ['full'], { path: free }])
  refused(t, full, /^LaneFull: too many requests wait for this endpoint: .*q\/v1\/full.* holds 1$/)
  writeFileSync(free, '')
  const statuses = (await Promise.all(held)).map(({ status }) => status)
  t.same(statuses, [200, 200])
  await client.admin('POST', '/services/q/disable')
  refused(t, await calls(predict), /^ServiceDisabled: the service is disabled: q$/)
  await client.admin('POST', '/services/q/enable')
  t.match((await calls(predict)).returned, { result: { prediction: 6 } })
  t.notOk(node.log().includes(key), 'no key is in the log')
}

interface Place {
  readonly node: TestNode
  readonly client: Client
  readonly python: Dataiku
  readonly folder: string
  /** A token of the issuer `corp`. */
  readonly signed: (claims: object) => string
}

async function placeOf(t: Test): Promise<Place> {
  const home = freshHome(t)
  const folder = join(home, '..')
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'k1', alg: 'ES256' }
  const corp = { issuer: 'https://login.example.com/', keys: { keys: [jwk] } }
  const config = join(folder, 'config.json')
  writeFileSync(config, JSON.stringify({ issuers: { corp } }))
  const env = { SWITCHYARD_PYTHON: '/usr/bin/python3' }
  const node = await startNode(t, { home, env, args: ['--config', config] })
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = (claims: object): string => {
    const exp = Math.floor(Date.now() / 1_000) + 3_600
    const head = part({ alg: 'ES256', kid: 'k1' })
    const said = `${head}.${part({ iss: corp.issuer, sub: 'ada', exp, ...claims })}`
    const key = { key: privateKey, dsaEncoding: 'ieee-p1363' } as const
    return `${said}.${sign('sha256', Buffer.from(said), key).toString('base64url')}`
  }
  return { node, client: new Client(node), python: dataiku(t), folder, signed }
}

const skip = whyNoDataiku() || whyNoPython()

t.test('the unmodified client, when something is in its way', { skip }, async (t) => {
  const place = await placeOf(t)
  await place.client.deploy('q', 'v1', mixedBundle())
  const calls = await keys(t, place)
  await t.test('explanations', (t) => explanations(t, calls))
  await t.test('rows', (t) => rows(t, calls))
  await t.test('functions', (t) => functions(t, calls))
  await t.test('failures', (t) => failures(t, place, calls))
  await t.test('tokens', (t) => tokens(t, place))
})
