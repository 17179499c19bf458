/**
 * Goal: the pages that show documents work in a browser, with nothing from elsewhere: operations
 * are there, one can be tried with a key and without, and the page's policy holds. Method: a real
 * node, a real browser; what the pages ask for and what turns red is noted. SCREENSHOTS names a
 * folder for pictures, for people.
 */

import { createServer } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Page, startBrowser, withoutBrowser } from '../tools/browser.ts'
import { exampleBundle } from '../tools/bundles.ts'
import { bundleOf, Client } from '../tools/client.ts'
import { startNode } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'
import { until } from '../tools/waiting.ts'

t.setTimeout(240_000)

async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env['SCREENSHOTS']
  if (folder !== undefined) await page.screenshot(join(folder, `${name}.png`))
}

const OPERATION = (path: string) =>
  `[...document.querySelectorAll('.opblock')]
    .find((one) => one.querySelector('.opblock-summary-path')?.dataset.path === '${path}')`

/** Opens an operation, tries it as its example stands, and returns what the page shows. */
async function tryOut(page: Page, path: string): Promise<{ status: string; body: string }> {
  const block = OPERATION(path)
  await page.until(block)
  await page.evaluate(`${block}.querySelector('.opblock-summary-control').click()`)
  await page.until(`${block}.querySelector('.try-out__btn')`)
  await page.evaluate(`${block}.querySelector('.try-out__btn').click()`)
  await page.until(`${block}.querySelector('.execute')`)
  await page.evaluate(`${block}.querySelector('.execute').click()`)
  const answer = `${block}.querySelector('.live-responses-table .response')`
  await page.until(answer)
  return page.evaluate(`({
    status: ${answer}.querySelector('.response-col_status').innerText.trim(),
    body: ${answer}.querySelector('.highlight-code').innerText,
  })`)
}

async function enterKey(page: Page, key: string): Promise<void> {
  await page.evaluate(`void (document.getElementById('key').value = ${JSON.stringify(key)})`)
  await page.evaluate(`document.querySelector('#ask button').click()`)
}

const shown = (page: Page) =>
  page.evaluate(
    `[...document.querySelectorAll('.opblock-summary-path')].map((one) => one.dataset.path)`,
  )

/** All that a page has asked for comes from where it comes from itself. */
function stayedAt(t: Test, page: Page, origin: string): void {
  t.ok(page.asked.length > 5)
  t.same(
    page.asked.filter((url) => new URL(url).origin !== origin),
    [],
    'nothing from elsewhere',
  )
}

/** What a script that got into the page could do. */
async function policyHolds(t: Test, page: Page): Promise<void> {
  let asked = 0
  const server = createServer((_, response) => {
    asked += 1
    response.end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const elsewhere = `http://127.0.0.1:${port}/`
  const before = page.errors.length
  await page.evaluate(`{
    const inline = document.createElement('script')
    inline.textContent = 'window.ran = true'
    document.body.append(inline)
    const image = document.createElement('img')
    image.src = '${elsewhere}image'
    document.body.append(image)
    const frame = document.createElement('iframe')
    frame.src = '${elsewhere}frame'
    document.body.append(frame)
    document.body.insertAdjacentHTML('beforeend', '<b id="on" onclick="window.ran = true">x</b>')
    document.getElementById('on').click()
    0
  }`)
  t.equal(await page.evaluate('window.ran'), undefined, 'nothing inline runs')
  await t.rejects(page.evaluate(`fetch('${elsewhere}')`))
  const refused = () =>
    page.errors.slice(before).filter((one) => /Content Security Policy/.test(one))
  // The script, the handler, the image, the frame and the request.
  await until(() => refused().length >= 5)
  t.equal(asked, 0, 'nothing leaves')
}

t.test('pages in a browser', { skip: withoutBrowser }, async (t) => {
  const node = await startNode(t)
  const client = new Client(node)
  await client.deploy('parcels', 'v1', exampleBundle('std-prediction'))
  const testQueries = [{ name: 'one', q: { features: { f0: 1, f1: 2 } } }]
  const keys = { authorization: 'API_KEYS' }
  await client.deploy('shut', 'v1', bundleOf(regressor(2), { testQueries }, keys))
  const { body: made } = await client.admin('POST', '/auth/keys', { allowedServices: ['shut'] })
  const browser = startBrowser(t)

  await t.test('of a public service', async (t) => {
    const page = await browser.open(client.queryUrl('parcels/docs'))
    await page.until(`document.querySelector('.opblock')`)
    const paths: string[] = await shown(page)
    t.same(paths.length, 3)
    const predict = paths.find((path) => path.endsWith('/predict')) ?? ''
    const { status, body } = await tryOut(page, predict)
    t.equal(status, '200')
    t.match(body, /"prediction"/)
    await picture(page, 'service')
    t.same(page.errors, [])
    stayedAt(t, page, node.url)
    await policyHolds(t, page)
  })

  await t.test('of a service with keys', async (t) => {
    const page = await browser.open(client.queryUrl('shut/docs/'))
    t.equal(await page.evaluate(`document.getElementById('ask').hidden`), false)
    await picture(page, 'key')
    t.same(page.errors, [], 'no refusal, for nothing was asked without a key')
    await enterKey(page, 'wrong')
    await page.until(`/not known/.test(document.getElementById('said').textContent)`)
    await enterKey(page, made.key)
    const { status, body } = await tryOut(page, '/p/predict')
    t.equal(status, '200', 'the key is used for what is tried out')
    t.match(body, /"prediction": 3/)
    await picture(page, 'service-with-key')
    t.equal(page.errors.length, 1, 'the wrong key')
    t.equal(await page.evaluate(`document.getElementById('key').value`), '')
    t.equal(await page.evaluate(`localStorage.length + sessionStorage.length`), 0)
    stayedAt(t, page, node.url)
  })

  await t.test('of the admin API', async (t) => {
    const page = await browser.open(`${node.adminUrl}/docs`)
    await enterKey(page, node.adminKey)
    await page.until(`document.querySelector('.opblock')`)
    t.ok((await shown(page)).length > 40)
    const { status, body } = await tryOut(page, '/admin/api/services')
    t.equal(status, '200')
    t.match(body, /"parcels"/)
    await picture(page, 'admin')
    t.same(page.errors, [])
    stayedAt(t, page, node.adminUrl)
    await policyHolds(t, page)
  })
})
