/**
 * Goal: a browser lets pages of other origins read what an operator allows, and nothing else; no
 * page can use the node in the name of whoever looks at it. Method: pages from a server on another
 * site (`localhost` beside `127.0.0.1`) fetch from a real node in a real browser, and say what they
 * saw.
 */

import { createServer } from 'node:http'
import t, { type Test } from 'tap'
import { type Browser, type Page, startBrowser, withoutBrowser } from '../tools/browser.ts'
import { bundleOf, Client, type Reply } from '../tools/client.ts'
import { startNode, type TestNode } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'

t.setTimeout(240_000)

/** A page without anything, at as many origins as the machine has names. */
async function strangers(t: Test): Promise<{ localhost: string; numbered: string }> {
  const server = createServer((_, response) => {
    response.setHeader('Content-Type', 'text/html')
    response.end('<!DOCTYPE html><title>elsewhere</title>')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return { localhost: `http://localhost:${port}`, numbered: `http://127.0.0.1:${port}` }
}

interface Seen {
  readonly status?: number
  readonly code?: string
  readonly prediction?: number
  readonly version?: string | null
  readonly retryAfter?: string | null
  /** The browser did not let the page see anything. */
  readonly error?: string
}

/** Runs in the page. */
const LOOK = `async (url, init) => {
  try {
    const response = await fetch(url, init)
    const text = await response.text()
    const body = text === '' ? {} : JSON.parse(text)
    return {
      status: response.status,
      code: body.code,
      prediction: body.result?.prediction,
      version: response.headers.get('dss-api-version'),
      retryAfter: response.headers.get('retry-after'),
    }
  } catch (error) {
    return { error: error.message }
  }
}`

function look(page: Page, url: string, init: object = {}): Promise<Seen> {
  return page.evaluate(`(${LOOK})(${JSON.stringify(url)}, ${JSON.stringify(init)})`)
}

const HIDDEN: Seen = { error: 'Failed to fetch' }

const asking = (key?: string) => ({
  method: 'POST',
  headers: {
    'Content-Type': 'application/json',
    ...(key === undefined ? {} : { Authorization: `Bearer ${key}` }),
  },
  body: '{"features":{"f0":2}}',
})

interface World {
  readonly node: TestNode
  readonly client: Client
  readonly browser: Browser
  /** A page at this origin, and one at another. */
  readonly localhost: string
  readonly page: Page
  readonly other: Page
  readonly open: string
  readonly shut: string
  allow(service: string, origins: string[]): Promise<Reply>
  newKey(quota?: object): Promise<string>
}

async function newWorld(t: Test): Promise<World> {
  const node = await startNode(t)
  const client = new Client(node)
  await client.deploy('open', 'v1', bundleOf(regressor(1)))
  await client.deploy('shut', 'v1', bundleOf(regressor(1), {}, { authorization: 'API_KEYS' }))
  const { localhost, numbered } = await strangers(t)
  const browser = startBrowser(t)
  return {
    node,
    client,
    browser,
    localhost,
    page: await browser.open(localhost),
    other: await browser.open(numbered),
    open: client.queryUrl('open/p/predict'),
    shut: client.queryUrl('shut/p/predict'),
    allow: (service, origins) =>
      client.admin('PATCH', `/services/${service}/settings`, { cors: { origins } }),
    newKey: async (quota) => {
      const { body } = await client.admin('POST', '/auth/keys', { ...(quota && { quota }) })
      return String(body.key)
    },
  }
}

async function oneOrigin(t: Test, world: World): Promise<void> {
  const { client, page, other, open, shut, newKey } = world
  t.equal((await world.allow('shut', [world.localhost])).status, 200)
  const key = await newKey()
  const seen = { status: 200, prediction: 2, version: '1.0' }
  t.match(await look(page, shut, asking(key)), seen)
  t.same(await look(other, shut, asking(key)), HIDDEN, 'another one is not')
  t.same(await look(page, open, asking()), HIDDEN, 'nor is another service')
  t.match(await look(page, shut, asking()), { status: 401, code: 'ERR_AUTH_MISSING' })
  const nowhere = client.queryUrl('shut/nobody/predict')
  t.match(await look(page, nowhere, asking(key)), { status: 404, code: 'ERR_ENDPOINT_UNKNOWN' })
  const limited = await newKey({ requestsPerSecond: 0.001 })
  t.match(await look(page, shut, asking(limited)), { status: 200 })
  const refused = await look(page, shut, asking(limited))
  t.match(refused, { status: 429, code: 'ERR_QUOTA', retryAfter: /^\d+$/ })
  const documents = client.queryUrl('shut/openapi.json')
  const headers = { Authorization: `Bearer ${key}` }
  t.match(await look(page, documents, { headers }), { status: 200 })
  await client.admin('POST', '/services/shut/disable')
  t.match(await look(page, shut, asking(key)), { status: 503, code: 'ERR_SERVICE_DISABLED' })
  await client.admin('POST', '/services/shut/enable')
}

async function adminIsClosed(t: Test, world: World): Promise<void> {
  const { node, client, page, localhost } = world
  const disable = `${node.adminUrl}/admin/api/services/open/disable`
  const headers = { Authorization: `Bearer ${node.adminKey}` }
  t.same(await look(page, disable, { method: 'POST', headers }), HIDDEN, 'even with the key')
  // Without a preflight: what a form can send.
  await look(page, disable, { method: 'POST', mode: 'no-cors', credentials: 'include' })
  const { body } = await client.admin('GET', '/services/open')
  t.equal(body.enabled, true)
  const unknown = await fetch(disable, { method: 'POST' })
  t.equal(unknown.status, 401)
  t.notMatch(unknown.headers.get('www-authenticate') ?? '', /basic/i, 'no browser keeps a key')
  for (const foreign of [{ 'sec-fetch-site': 'cross-site' }, { origin: localhost }]) {
    const refused = await fetch(disable, { method: 'POST', headers: { ...headers, ...foreign } })
    t.equal(refused.status, 403, JSON.stringify(foreign))
  }
}

t.test('CORS in a browser', { skip: withoutBrowser }, async (t) => {
  const world = await newWorld(t)
  const { client, browser, page, other, open, shut } = world
  const simple = client.queryUrl('open/p/predict-simple?f0=3')

  await t.test('nothing is allowed', async (t) => {
    t.same(await look(page, open, asking()), HIDDEN)
    t.same(await look(page, shut, asking(await world.newKey())), HIDDEN)
  })
  await t.test('one origin is', (t) => oneOrigin(t, world))
  await t.test('all are, and none is again', async (t) => {
    await world.allow('open', ['*'])
    for (const one of [page, other]) t.match(await look(one, open, asking()), { status: 200 })
    t.match(await look(page, simple), { status: 200, prediction: 3 })
    await world.allow('open', [])
    t.same(await look(page, simple), HIDDEN)
  })
  await t.test('a link of another site runs nothing, and says why', async (t) => {
    const link = await browser.open(world.localhost)
    await link.evaluate(`void (location.href = ${JSON.stringify(simple)})`)
    await link.until(`document.body.innerText.includes('ERR_ORIGIN_FORBIDDEN')`)
    const own = await browser.open(simple)
    t.match(await own.evaluate('document.body.innerText'), /"prediction":3/, 'as typed it does')
  })
  await t.test('the admin API is closed to other pages', (t) => adminIsClosed(t, world))
})
