/**
 * Goal: a node that speaks TLS does so on both ports, lets in whom it shall, and gets new
 * certificates under load without a failed request. Method: whole nodes with certificates made by
 * openssl, whose files are changed as renewal tools do; clients of node:https, openssl and curl.
 */

import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, readFileSync, renameSync, symlinkSync } from 'node:fs'
import https, { Agent, type RequestOptions } from 'node:https'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'node:tls'
import t, { type Test } from 'tap'
import { ROOT } from '../../bench/paths.ts'
import {
  authority,
  type IssuedPair,
  issue,
  openssl,
  withoutOpenssl,
} from '../tools/certificates.ts'
import { temporaryDirectory } from '../tools/control-plane.ts'
import { sayEffort } from '../tools/effort.ts'
import { startNode, startProcess, type TestNode } from '../tools/node.ts'
import { until } from '../tools/waiting.ts'

const skip = withoutOpenssl
const folder = temporaryDirectory(t)
const ca = skip === false ? authority(folder, 'ca') : { cert: '', key: '' }
const trust = skip === false ? readFileSync(ca.cert) : Buffer.alloc(0)
const DEMO = JSON.parse(readFileSync(join(ROOT, 'bench/demo/demo.json'), 'utf8'))
const PREDICT = `/public/api/v1/${DEMO.service}/${DEMO.endpoint}/predict`
/** Twice the time between two looks at the files, and a replacement on a busy machine. */
const SEEN_MS = 40_000

interface Answer {
  /** 0: there was none. */
  readonly status: number
  readonly text: string
  /** The node said that this was the last answer of the connection. */
  readonly isLast?: boolean
}

function ask(url: string, options: RequestOptions = {}, body = ''): Promise<Answer> {
  return new Promise((resolve) => {
    const fail = (error: Error) => resolve({ status: 0, text: error.message })
    const sent = https.request(url, { ca: trust, agent: false, ...options }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (piece: string) => {
        text += piece
      })
      const isLast = response.headers.connection === 'close'
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text, isLast }))
      response.on('error', fail)
    })
    sent.on('error', fail)
    sent.end(body)
  })
}

function predict(node: TestNode, agent?: Agent): Promise<Answer> {
  const options = { method: 'POST', ...(agent === undefined ? {} : { agent }) }
  return ask(`${node.url}${PREDICT}`, options, JSON.stringify(DEMO.body))
}

/** Common name of the certificate that a new connection is shown. */
function shown(url: string, client: RequestOptions = {}): Promise<string> {
  const { hostname: host, port } = new URL(url)
  const identity = { cert: client.cert, key: client.key }
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port), ca: trust, ...identity }, () => {
      resolve(socket.getPeerX509Certificate()?.subject.replace('CN=', '') ?? '')
      socket.destroy()
    })
    socket.on('error', (error) => resolve(error.message))
  })
}

async function untilShown(url: string, name: string, client: RequestOptions = {}): Promise<string> {
  const endMs = performance.now() + SEEN_MS
  let last = ''
  while (last !== name && performance.now() < endMs) {
    last = await shown(url, client)
    await sleep(50)
  }
  return last
}

function pemOf(pair: IssuedPair): RequestOptions {
  return { cert: readFileSync(pair.cert), key: readFileSync(pair.key) }
}

/** Versions of TLS that the port takes, as openssl finds them. */
function versions(url: string, identity: readonly string[] = []): string[] {
  const to = new URL(url).host
  return ['tls1', 'tls1_1', 'tls1_2', 'tls1_3'].filter((version) => {
    const args = ['s_client', '-connect', to, `-${version}`, '-cipher', 'ALL:@SECLEVEL=0']
    const { stdout } = spawnSync('openssl', [...args, ...identity], { input: '', timeout: 60_000 })
    return !/Cipher is \(NONE\)/.test(String(stdout))
  })
}

/** What a node says that cannot start: lines of its own, and its exit code. */
async function refused(t: Test, pair: IssuedPair): Promise<[number, string[]]> {
  const started = startProcess(t, { args: ['--tls-cert', pair.cert, '--tls-key', pair.key] })
  const code = await started.ended
  return [code, started.log().trim().split('\n')]
}

t.test('a pair that does not fit ends the start with one line', { skip }, async (t) => {
  const one = issue(folder, 'one', { by: ca })
  const two = issue(folder, 'two', { by: ca })
  const [code, lines] = await refused(t, { cert: one.cert, key: two.key })
  t.equal(code, 1)
  t.equal(lines.length, 1, lines.join('\n'))
  t.match(lines[0], /^switchyard: --tls-key .*two\.key: the key is of another certificate than/)
})

/** The log may come after the line that says that the node is ready. */
async function printedCommand(node: TestNode): Promise<string> {
  const said = () => /^\{.*"command":.*\}$/m.exec(node.log())?.[0]
  await until(() => said() !== undefined)
  return JSON.parse(said() ?? '{}').command
}

t.test('an expired certificate is served, and the printed command answers', { skip }, async (t) => {
  const { cert, key } = issue(folder, 'self-signed', { days: 1 })
  const fresh = await startNode(t, { args: ['--tls-cert', cert, '--tls-key', key, '--demo'] })
  const command = await printedCommand(fresh)
  t.match(command, /^curl --cacert /)
  const answer = execFileSync('bash', ['-c', `${command} --silent --fail`], { encoding: 'utf8' })
  t.match(JSON.parse(answer).result, { prediction: 'malignant' })
  await fresh.stop()

  const old = issue(folder, 'expired', { days: -1 })
  const node = await startNode(t, { args: ['--tls-cert', old.cert, '--tls-key', old.key] })
  await until(() => /"level":50,[^\n]*THE CERTIFICATE HAS EXPIRED/.test(node.log()))
  const health = await ask(`${node.adminUrl}/admin/api/health`, { rejectUnauthorized: false })
  t.match(JSON.parse(health.text), {
    status: 'DEGRADED',
    details: { tls: { query: { subject: 'CN=expired' }, admin: { daysLeft: Number } } },
  })
})

/** Asks over a kept connection until the node ends it, for ever if it does not; what failed. */
async function untilLast(node: TestNode, kept: Agent): Promise<string[]> {
  for (;;) {
    const { status, text, isLast = false } = await predict(node, kept)
    if (status !== 200) return [`${status} ${text}`]
    if (isLast) return []
    await sleep(20)
  }
}

/** Between two requests of a caller: the machine has certificates to change meanwhile. */
const PAUSE_MS = 10

/** Callers that keep their connections, until told to stop; every answer is counted. */
function startLoad(node: TestNode, callers: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: callers, ca: trust })
  const failures: string[] = []
  let answered = 0
  let stopped = false
  const call = async (): Promise<void> => {
    while (!stopped) {
      const { status, text } = await predict(node, agent)
      if (status === 200) answered += 1
      else failures.push(`${status} ${text}`)
      await sleep(PAUSE_MS)
    }
  }
  const running = Promise.all(Array.from({ length: callers }, call))
  return {
    failures,
    answered: () => answered,
    stop: async () => {
      stopped = true
      await running
      agent.destroy()
    },
  }
}

interface Scene {
  readonly node: TestNode
  /** The client that the admin port lets in, and one that it does not know. */
  readonly operator: RequestOptions
  readonly stranger: RequestOptions
  readonly headers: Readonly<Record<string, string>>
  readonly adminServer: IssuedPair
  /** The files that the node was started with: links, as certbot and cert-manager make them. */
  readonly link: string
  admin(path: string, method?: string): Promise<Answer>
  reload(): Promise<Answer>
}

function pointTo(link: string, target: string): void {
  symlinkSync(target, `${link}.next`)
  renameSync(`${link}.next`, link)
}

function renew({ link }: Pick<Scene, 'link'>, name: string): void {
  for (const end of ['.key', '.pem']) pointTo(link + end, join(folder, name + end))
}

async function openScene(t: Test): Promise<Scene> {
  const link = join(folder, 'live')
  for (const name of ['first', 'second', 'third']) issue(folder, name, { by: ca })
  renew({ link }, 'first')
  const adminServer = issue(folder, 'admin-server', { by: ca })
  const clients = authority(folder, 'clients')
  const operator = pemOf(issue(folder, 'operator', { by: clients }))
  const stranger = pemOf(issue(folder, 'stranger', { by: authority(folder, 'foreign') }))
  const node = await startNode(t, {
    args: [
      ...['--tls-cert', `${link}.pem`, '--tls-key', `${link}.key`, '--demo'],
      ...['--admin-tls-cert', adminServer.cert, '--admin-tls-key', adminServer.key],
      ...['--admin-client-ca', clients.cert],
    ],
  })
  const headers = { authorization: `Bearer ${node.adminKey}` }
  const admin = (path: string, method = 'GET') =>
    ask(`${node.adminUrl}${path}`, { method, headers, ...operator })
  const reload = () => admin('/admin/api/actions/reload-certificates', 'POST')
  return { node, operator, stranger, headers, adminServer, link, admin, reload }
}

async function whoGetsIn(t: Test, scene: Scene): Promise<void> {
  const { node, operator, stranger, headers } = scene
  t.equal((await predict(node)).status, 200)
  const services = `${node.adminUrl}/admin/api/services`
  t.equal((await ask(services, { headers })).status, 0, 'no certificate, no handshake')
  t.equal((await ask(services, { headers, ...stranger })).status, 0)
  t.equal((await ask(services, { headers, ...operator })).status, 200)
  t.equal((await ask(services, operator)).status, 401, 'a certificate is no key')
  const health = `${node.adminUrl}/admin/api/health`
  t.equal((await ask(health)).status, 0, 'health is behind the same door')
  t.match(await ask(health, operator), { status: 200, text: /"subject":"CN=admin-server"/ })
  t.match(node.log(), /"reason":"it showed none"[^\n]*was refused/)
  const identity = ['-cert', join(folder, 'operator.pem'), '-key', join(folder, 'operator.key')]
  t.same(versions(node.url), ['tls1_2', 'tls1_3'])
  t.same(versions(node.adminUrl, identity), ['tls1_2', 'tls1_3'])
}

async function whenItEnds(t: Test, scene: Scene): Promise<void> {
  const metrics = (await scene.admin('/metrics')).text
  const name = 'switchyard_tls_certificate_not_after_seconds'
  for (const [listener, file] of Object.entries({ query: 'first', admin: 'admin-server' })) {
    const date = openssl('x509', '-noout', '-enddate', '-in', join(folder, `${file}.pem`))
    const seconds = Date.parse(date.replace('notAfter=', '')) / 1000
    t.ok(metrics.includes(`${name}{listener="${listener}"} ${seconds}\n`), `${listener} ${date}`)
  }
}

async function byTheFilesAlone(t: Test, scene: Scene): Promise<void> {
  const { node, adminServer, operator } = scene
  renew(scene, 'second')
  copyFileSync(join(folder, 'third.key'), adminServer.key)
  copyFileSync(join(folder, 'third.pem'), adminServer.cert)
  t.equal(await untilShown(node.url, 'second'), 'second')
  t.equal(await untilShown(node.adminUrl, 'third', operator), 'third')
  t.match(node.log(), /"fingerprint":"[0-9A-F:]{95}"[^\n]*the certificate is replaced/)
}

async function byTheAction(t: Test, scene: Scene): Promise<void> {
  const { node } = scene
  t.match(JSON.parse((await scene.reload()).text), {
    ok: true,
    listeners: [{ changed: false }, {}],
  })
  const kept = new Agent({ keepAlive: true, maxSockets: 1, ca: trust })
  t.match(await predict(node, kept), { status: 200, isLast: false })
  renew(scene, 'first')
  t.match(JSON.parse((await scene.reload()).text), {
    listeners: [
      { listener: 'admin', changed: false, subject: 'CN=third' },
      { listener: 'query', subject: 'CN=first', notAfter: Number },
    ],
  })
  t.equal(await untilShown(node.url, 'first'), 'first')
  t.same(await untilLast(node, kept), [], 'an old connection is answered, and asked to leave')
  kept.destroy()
}

async function notToWhatIsBroken(t: Test, scene: Scene): Promise<void> {
  const { node, link } = scene
  pointTo(`${link}.pem`, join(folder, 'second.pem'))
  const text = /key is of another certificate.*"ERR_CERTIFICATE_INVALID"/
  t.match(await scene.reload(), { status: 422, text })
  t.equal(await shown(node.url), 'first')
  t.equal((await scene.admin('/admin/api/actions/replace-serving', 'POST')).status, 200)
  t.equal(await shown(node.url), 'first', 'new processes start with what was checked')
  t.match((await scene.admin('/admin/api/health')).text, /DEGRADED/)
  renew(scene, 'first')
  t.equal((await scene.reload()).status, 200)
}

t.test('certificates change under load', { skip }, async (t) => {
  const scene = await openScene(t)
  await t.test('who gets in', (t) => whoGetsIn(t, scene))
  await t.test('when it ends, for dashboards', (t) => whenItEnds(t, scene))
  const load = startLoad(scene.node, 8)
  await t.test('by the files alone', (t) => byTheFilesAlone(t, scene))
  await t.test('by the action', (t) => byTheAction(t, scene))
  await t.test('not to what is broken', (t) => notToWhatIsBroken(t, scene))
  await load.stop()
  t.same(load.failures, [], 'no request failed')
  t.ok(load.answered() > 100, `${load.answered()} requests were answered`)
  sayEffort({ replacementsUnderLoad: 3, answered: load.answered() })
})

t.test('without TLS there is nothing to reload', async (t) => {
  const node = await startNode(t)
  const response = await fetch(`${node.adminUrl}/admin/api/actions/reload-certificates`, {
    method: 'POST',
    headers: { authorization: `Bearer ${node.adminKey}` },
  })
  t.equal(response.status, 409)
  t.match(await response.json(), { code: 'ERR_TLS_OFF' })
})
