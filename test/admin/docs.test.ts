/**
 * Goal: the admin port's document is valid and complete, and the page that shows it loads what it
 * needs from here, nothing else, and keeps the key to itself.
 * Method: the document by the linter that people use; the page over a real listener, every address
 * in it fetched, and its script run with a page, a fetch and a Swagger UI that only take notes.
 */

import { readFileSync } from 'node:fs'
import { request as ask } from 'node:http'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createContext, Script } from 'node:vm'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { openApiDocument } from '../../admin/routes/openapi.ts'
import { DOCS } from '../../admin/routes/operation-docs.ts'
import { ROUTES } from '../../admin/routes/table.ts'
import { ROOT } from '../../bench/paths.ts'
import { PAGE_FILES } from '../../core/openapi/page-files.ts'
import { openAdmin } from '../tools/admin-client.ts'
import { operationsIn, problemsOf } from '../tools/openapi.ts'

/** Open operations that take nothing: no request of theirs is wrong. */
const CANNOT_BE_WRONG = ['/admin/api/health', '/docs', '/isAlive']

t.test('the document passes every recommended rule', async (t) => {
  const document = openApiDocument('1.2.3')
  const problems = await problemsOf(document)
  const expected = CANNOT_BE_WRONG.map((path) => {
    const pointer = `#/paths/${path.replaceAll('/', '~1')}/get/responses`
    const problem = 'Operation must have at least one `4XX` response.'
    return `operation-4xx-response: ${problem} at ${pointer}`
  })
  t.same(problems.toSorted(), expected.toSorted())
})

t.test('every operation of the route table is in it, with what generators need', async (t) => {
  const described = operationsIn(openApiDocument('1.2.3'))
  const shown = ROUTES.filter(({ operation }) => DOCS[operation] !== null)
  t.equal(described.length, shown.length)
  for (const { path, method, needs, operation: operationId, body } of shown) {
    const found = described.find((one) => one.operation.operationId === operationId)
    t.match(found, { path, method: method.toLowerCase() }, operationId)
    const operation = found?.operation ?? {}
    t.ok(operation.summary.length > 5 && operation.tags.length === 1, operationId)
    t.equal(needs === 'nothing', operation.security?.length === 0, `${operationId}: its key`)
    t.equal(body !== 'none', operation.requestBody !== undefined, `${operationId}: its body`)
    for (const one of operation.parameters ?? [])
      t.ok(one.description, `${operationId}.${one.name}`)
    const statuses = Object.keys(operation.responses)
    for (const status of statuses.filter((text) => Number(text) >= 400)) {
      const { schema } = operation.responses[status].content['application/json']
      t.same(schema, { $ref: '#/components/schemas/Error' }, `${operationId} ${status}`)
    }
  }
})

t.test('examples of requests are accepted as they stand', async (t) => {
  const { call, upload } = await openAdmin(t)
  const described = operationsIn(openApiDocument('1.2.3'))
  let keyId = ''
  const send = async ({ path, method, operation }: (typeof described)[number]) => {
    const { example } = operation.requestBody.content['application/json']
    t.ok(example, `${operation.operationId} has an example`)
    const filled = path.replace('{serviceId}', 'parcels').replace('{keyId}', keyId)
    const answer = await call(method.toUpperCase(), filled, { body: JSON.stringify(example) })
    t.equal(answer.status, 200, `${operation.operationId}: ${answer.text}`)
    if (operation.operationId === 'createAuthKey') keyId = answer.body.id ?? ''
  }
  const withBody = described.filter(
    ({ operation }) => operation.requestBody?.content['application/json'] !== undefined,
  )
  t.ok(withBody.length >= 6)
  const [first, ...rest] = withBody
  if (first !== undefined) await send(first)
  for (const id of ['v1', 'v2']) {
    const path = `/admin/api/services/parcels/generations?generationId=${id}`
    t.equal((await upload(path, { content: id })).status, 200)
  }
  for (const one of rest) await send(one)
})

interface Fetched {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
}

/** Paths as they are given, bytes as they come: fetch() would tidy up both. */
function get(port: number, path: string, headers: Record<string, string> = {}): Promise<Fetched> {
  return new Promise((resolve, reject) => {
    const asked = ask({ host: '127.0.0.1', port, path, headers }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.once('end', () => {
        const { statusCode: status = 0, headers: got } = response
        resolve({ status, headers: got, body: Buffer.concat(chunks) })
      })
    })
    asked.once('error', reject)
    asked.end()
  })
}

t.test('the page and its files', async (t) => {
  const { listener } = await openAdmin(t)
  const { port } = listener
  for (const path of ['/docs', '/docs/']) {
    const page = await get(port, path)
    t.equal(page.status, 200)
    t.match(page.headers['content-type'], /^text\/html/)
    const policy = String(page.headers['content-security-policy'])
    t.match(policy, /default-src 'none'; script-src 'self'; style-src 'self'/)
    t.notMatch(policy, /unsafe|https?:/)
    const html = page.body.toString()
    t.notMatch(html, /<script(?![^>]* src=)|\son\w+=|style=|https?:/, 'nothing inline or elsewhere')
    const loaded = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url = '']) => url)
    t.equal(loaded.length, PAGE_FILES.length)
    for (const url of loaded) {
      const { pathname } = new URL(url, `http://127.0.0.1${path}`)
      t.equal((await get(port, pathname)).status, 200, `${path} loads ${pathname}`)
    }
    const [, document = ''] = /data-document="([^"]+)"/.exec(html) ?? []
    t.equal(new URL(document, `http://127.0.0.1${path}`).pathname, '/openapi.json')
  }
  t.equal((await get(port, '/openapi.json')).status, 401, 'the document needs the key')
})

t.test('files: packed, kept by browsers, and no others', async (t) => {
  const { listener } = await openAdmin(t)
  const { port } = listener
  const folder = join(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'), '..')
  const name = 'swagger-ui-bundle.js'
  const original = readFileSync(join(folder, name))
  const plain = await get(port, `/docs/${name}`)
  t.ok(plain.body.equals(original))
  const packed = await get(port, `/docs/${name}`, { 'accept-encoding': 'gzip, deflate, br' })
  t.equal(packed.headers['content-encoding'], 'gzip')
  t.match(packed.headers, { vary: 'Accept-Encoding', 'cache-control': /max-age/ })
  t.ok(gunzipSync(packed.body).equals(original))
  t.ok(packed.body.length < 600_000, `${packed.body.length} bytes travel`)
  const etag = String(packed.headers['etag'])
  const again = await get(port, `/docs/${name}`, { 'if-none-match': etag })
  t.match(again, { status: 304, headers: { etag } })
  t.equal(again.body.length, 0)
  const hostile = [
    '/docs/package.json',
    '/docs/index.html',
    '/docs/..%2fpackage.json',
    '/docs/%2e%2e/%2e%2e/package.json',
    '/docs/../openapi.json/x',
    '/docs/page.js%00',
    '/docs/constructor',
  ]
  for (const path of hostile) t.equal((await get(port, path)).status, 404, path)
})

/** What the script finds in its page: each element remembers what was done to it. */
function element() {
  const listeners = new Map<string, (event: object) => void>()
  return {
    hidden: true,
    value: '',
    textContent: '',
    focus() {},
    addEventListener: (name: string, run: (event: object) => void) => listeners.set(name, run),
    fire: (name: string) => listeners.get(name)?.({ preventDefault() {} }),
  }
}

interface Shown {
  readonly spec: object
  readonly dom_id: string
  readonly validatorUrl: null
  readonly onComplete: () => void
}

function openPage(answer: (headers: Record<string, string>) => object, needsKey = false) {
  const elements = { ask: element(), key: element(), said: element() }
  const fetched: { url: string; headers: Record<string, string> }[] = []
  const shown: Shown[] = []
  const authorized: string[][] = []
  const context = createContext({
    document: {
      body: { dataset: { document: 'openapi.json', needsKey: String(needsKey) } },
      getElementById: (id: keyof typeof elements) => elements[id],
    },
    fetch: async (url: string, { headers }: { headers: Record<string, string> }) => {
      fetched.push({ url, headers })
      return answer(headers)
    },
    SwaggerUIBundle: (options: Shown) => {
      shown.push(options)
      return { preauthorizeApiKey: (...given: string[]) => authorized.push(given) }
    },
  })
  const code = readFileSync(join(ROOT, 'core/openapi/page/page.js'), 'utf8')
  new Script(code).runInContext(context)
  const settled = () => new Promise((resolve) => setTimeout(resolve, 5))
  return { elements, fetched, shown, authorized, settled }
}

const SPEC = { components: { securitySchemes: { bearer: {} } } }
const refused = (detailedMessage: string) => ({
  ok: false,
  status: 401,
  json: async () => ({ detailedMessage }),
})

t.test('the script of the page asks for a key only where one is needed', async (t) => {
  const open = openPage(() => ({ ok: true, status: 200, json: async () => SPEC }))
  await open.settled()
  t.match(open.shown, [{ spec: SPEC, dom_id: '#shown', validatorUrl: null }])
  t.match(open.fetched, [{ url: 'openapi.json' }])
  open.shown[0]?.onComplete()
  t.same(open.authorized, [], 'nothing to send where nothing was asked for')

  const asking = openPage(() => ({}), true)
  t.match(asking.elements.ask, { hidden: false })
  t.same(asking.fetched, [], 'a refusal that can be foreseen is not asked for')

  const right = 'Bearer right'
  const closed = openPage(({ Authorization = '' }) =>
    Authorization === right
      ? { ok: true, status: 200, json: async () => SPEC }
      : refused('the API key is not known'),
  )
  await closed.settled()
  const { ask: form, key, said } = closed.elements
  t.match({ form, said }, { form: { hidden: false }, said: { textContent: '' } }, 'it asks')
  key.value = 'wrong'
  form.fire('submit')
  await closed.settled()
  t.equal(said.textContent, 'the API key is not known')
  t.equal(closed.shown.length, 0)
  key.value = ' right '
  form.fire('submit')
  await closed.settled()
  t.match(closed.fetched.at(-1), { headers: { Authorization: right } })
  t.equal(closed.shown.length, 1)
  t.match({ form, key }, { form: { hidden: true }, key: { value: '' } }, 'the field is emptied')
  closed.shown[0]?.onComplete()
  t.same(closed.authorized, [['bearer', 'right']], 'what is tried out uses the key')
})
