/**
 * Goal: one admin API serves two kinds of programs: those written for the documented API, which
 * send Bearer, and those written for Dataiku's, which send Basic. Method: a whole node, asked what
 * both may ask, in either scheme; and the two flows that are published for the documented API.
 */

import t, { type Test } from 'tap'
import { bundleOf, Client, type Reply } from '../tools/client.ts'
import { startNode, type TestNode } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'

t.setTimeout(240_000)

type Scheme = 'Bearer' | 'Basic'

interface Asked {
  readonly body?: object | FormData
  readonly headers?: Readonly<Record<string, string>>
}

type Ask = (scheme: Scheme, method: string, path: string, asked?: Asked) => Promise<Reply>

function askerOf({ adminUrl, adminKey }: TestNode): Ask {
  const basic = `Basic ${Buffer.from(`${adminKey}:`).toString('base64')}`
  return async (scheme, method, path, { body, headers = {} } = {}) => {
    const authorization = scheme === 'Basic' ? basic : `Bearer ${adminKey}`
    const response = await fetch(`${adminUrl}/admin/api${path}`, {
      method,
      headers: { authorization, ...headers },
      body: body === undefined || body instanceof FormData ? (body ?? null) : JSON.stringify(body),
    })
    const text = await response.text()
    const parsed = text === '' ? null : JSON.parse(text)
    return { status: response.status, body: parsed, headers: response.headers }
  }
}

const BOTH = ['Bearer', 'Basic'] as const

/** A form as runners of flows send it: whatever its name, the manifest says the id. */
function form(generationId: string, factor: number): FormData {
  const data = new FormData()
  const bundle = bundleOf(regressor(1, factor), {}, { generationId })
  data.append('file', new Blob([new Uint8Array(bundle)]))
  return data
}

/** Import, preload, switch: the id comes from the answer of the first step. */
async function importFlow(t: Test, ask: Ask, generationId: string, factor: number): Promise<void> {
  const at = '/services/s/generations'
  const imported = await ask('Bearer', 'POST', at, { body: form(generationId, factor) })
  t.equal(imported.status, 200, JSON.stringify(imported.body))
  const given = imported.body.generationId
  t.equal(given, generationId)
  for (const verb of ['preload', 'switch']) {
    t.equal((await ask('Bearer', 'POST', `${at}/${given}/${verb}`)).status, 200, verb)
  }
}

/** Look, list, switch, enable; what was active before is among what the flow gives back. */
async function promoteFlow(t: Test, ask: Ask, to: string): Promise<string> {
  const service = await ask('Bearer', 'GET', '/services/s')
  t.match(service, { status: 200, body: { serviceId: 's', activeGeneration: String } })
  const listed = await ask('Bearer', 'GET', '/services/s/generations')
  t.ok(listed.status === 200 && Array.isArray(listed.body), 'a list')
  const ids = listed.body.map(({ generationId }: { generationId: string }) => generationId)
  t.ok(ids.includes(to))
  t.equal((await ask('Bearer', 'POST', `/services/s/generations/${to}/switch`)).status, 200)
  t.equal((await ask('Bearer', 'POST', '/services/s/enable')).status, 200)
  return service.body.activeGeneration
}

async function flows(t: Test, ask: Ask, client: Client): Promise<void> {
  const answer = async () => (await client.query('s/p/predict', { features: { f0: 1 } })).body
  await importFlow(t, ask, 'v1', 1)
  t.equal((await answer()).result.prediction, 1)
  await importFlow(t, ask, 'v2', 2)
  t.equal((await answer()).result.prediction, 2)
  await ask('Bearer', 'POST', '/services/s/disable')
  t.equal((await answer()).code, 'ERR_SERVICE_DISABLED')
  t.equal(await promoteFlow(t, ask, 'v1'), 'v2', 'what was active before')
  t.match((await answer()).result, { prediction: 1 })
}

async function generations(t: Test, ask: Ask): Promise<void> {
  const list = '/services/s/generations'
  const shapes = [
    ['Bearer', list, 'array'],
    ['Basic', list, 'object'],
    ['Bearer', `${list}?shape=object`, 'object'],
    ['Basic', `${list}?shape=array`, 'array'],
    ['Basic', `${list}/`, 'object'],
  ] as const
  const seen: unknown[] = []
  for (const [scheme, path, shape] of shapes) {
    const told = await ask(scheme, 'GET', path)
    t.equal(told.status, 200)
    t.equal(Array.isArray(told.body) ? 'array' : 'object', shape, `${scheme} ${path}`)
    if (shape === 'object') t.same(Object.keys(told.body), ['generations'])
    seen.push(shape === 'array' ? told.body : told.body.generations)
    t.equal(told.headers.get('vary'), 'Authorization, Accept')
  }
  for (const one of seen) t.same(one, seen[0], 'the same generations in both')
  t.match(seen[0], [
    { generationId: 'v1', generation: 'v1', active: true, proba: 1, createdOn: Number },
    { generationId: 'v2', generation: 'v2', active: false, proba: 0, preloaded: Boolean },
  ])
  const wrong = await ask('Basic', 'GET', `${list}?shape=tree`)
  t.match(wrong, { status: 400, body: { detailedMessage: /"array" or "object"/ } })
  const reserved = await ask('Bearer', 'POST', list, { body: form('actions', 1) })
  t.match(reserved, { status: 400, body: { detailedMessage: /actions|1 to 128/ } }, 'is a path')
}

async function everythingElse(t: Test, ask: Ask): Promise<void> {
  for (const scheme of BOTH) {
    const serviceId = `of-${scheme}`
    const at = `/services/${serviceId}`
    t.match(await ask(scheme, 'POST', '/services/', { body: { serviceId } }), {
      status: 200,
      body: { ok: true, serviceId },
    })
    const summary = { serviceId, enabled: true, generationCount: 0 }
    const all: { serviceId: string }[] = (await ask(scheme, 'GET', '/services')).body
    t.has(
      all.find((one) => one.serviceId === serviceId),
      summary,
    )
    t.match(await ask(scheme, 'GET', at), { status: 200, body: summary })
    for (const path of ['/disable', '/enable', '/actions/disable', '/actions/enable']) {
      t.same((await ask(scheme, 'POST', `${at}${path}`)).body, { ok: true }, path)
    }
    const gone = await ask(scheme, 'DELETE', at)
    if (scheme === 'Basic') t.match(gone, { status: 200, body: { ok: true } })
    else t.same([gone.status, gone.body], [204, null])

    for (const path of ['/generations/v2/switch', '/actions/switchTo/v1']) {
      t.match(await ask(scheme, 'POST', `/services/s${path}`), { status: 200, body: { ok: true } })
    }
    const newest = await ask(scheme, 'POST', '/services/s/actions/switchToNewest')
    t.match(newest, { status: 200, body: { ok: true, generation: 'v2' } })
    const { body } = await ask(scheme, 'GET', '/metrics')
    t.match(body, { totalRequests: Number, serviceMetrics: { s: { requestCount: Number } } })
  }
}

/** Keys of services and keys of this API are two stores, each with its own paths. */
async function keys(t: Test, ask: Ask, node: TestNode): Promise<void> {
  const made = (await ask('Basic', 'POST', '/auth/keys', { body: { label: 'app' } })).body
  const admin = (await ask('Bearer', 'POST', '/keys', { body: { label: 'ops' } })).body
  const idsAt = async (path: string): Promise<string[]> => {
    const { body } = await ask('Bearer', 'GET', path)
    return body.map(({ id }: { id: string }) => id)
  }
  t.ok((await idsAt('/auth/keys')).includes(made.id) && !(await idsAt('/keys')).includes(made.id))
  t.ok((await idsAt('/keys')).includes(admin.id) && !(await idsAt('/auth/keys')).includes(admin.id))
  const status = async (authorization: string) =>
    (await fetch(`${node.adminUrl}/admin/api/services`, { headers: { authorization } })).status
  t.equal(await status(`Bearer ${made.key}`), 403)
  t.equal(await status(`Bearer ${admin.key}`), 200)
  t.equal((await ask('Bearer', 'DELETE', `/keys/${admin.id}/key`)).status, 204)
  t.equal((await ask('Basic', 'DELETE', `/auth/keys/${made.id}`)).status, 204)
  t.equal(await status(`Bearer ${admin.key}`), 401)
}

async function unauthenticated(t: Test, node: TestNode): Promise<void> {
  const health = await fetch(`${node.adminUrl}/admin/api/health`)
  t.match(await health.json(), { status: 'HEALTHY' })
  for (const url of [`${node.adminUrl}/isAlive/`, `${node.url}/isAlive/`]) {
    t.equal((await fetch(url, { redirect: 'error' })).status, 200, url)
  }
}

t.test('one admin API, two kinds of programs', async (t) => {
  const node = await startNode(t)
  const client = new Client(node)
  const ask = askerOf(node)
  await ask('Bearer', 'POST', '/services', { body: { serviceId: 's' } })
  await t.test('published flows', (t) => flows(t, ask, client))
  await t.test('lists of generations', (t) => generations(t, ask))
  await t.test('everything else', (t) => everythingElse(t, ask))
  await t.test('keys', (t) => keys(t, ask, node))
  await t.test('without a key', (t) => unauthenticated(t, node))
})
