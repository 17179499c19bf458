/**
 * Goal: a node starts or says in one line why not, ends on every signal with everything answered,
 * replaces a serving process that dies, and never leaves a process behind.
 * Method: the built program in its own processes, real signals, /proc for what is left.
 */

import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import { Agent, type IncomingMessage, request } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { compiled, ROOT } from '../../bench/paths.ts'
import { zip } from '../../bench/workloads/zip-writer.ts'
import {
  freshHome,
  type NodeSettings,
  readyLine,
  remaining,
  type StartedProcess,
  startNode,
  startProcess,
} from '../tools/node.ts'
import { endlessLoop } from '../tools/onnx-models.ts'
import { until } from '../tools/waiting.ts'

const DEMO = { SWITCHYARD_DEMO: 'true' }
const demo = JSON.parse(readFileSync(join(ROOT, 'bench/demo/demo.json'), 'utf8'))
const BODY = JSON.stringify(demo.body)
const PATH = `/public/api/v1/${demo.service}/${demo.endpoint}/predict`

interface Answer {
  readonly status: number
  readonly closes: boolean
}

function predict(url: string, agent: Agent | false = false): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': BODY.length }
    const call = request(`${url}${PATH}`, { method: 'POST', agent, headers })
    call.on('response', (response: IncomingMessage) => {
      response.resume()
      const closes = response.headers.connection === 'close'
      response.on('end', () => resolve({ status: response.statusCode ?? 0, closes }))
      response.on('error', reject)
    })
    call.on('error', reject)
    call.end(BODY)
  })
}

/** One line on stderr that is not of the log. */
function complaint(started: StartedProcess): string {
  const lines = started.log().split('\n')
  return lines.filter((line) => line !== '' && !line.startsWith('{')).join('\n')
}

async function refusedStart(t: Test, settings: NodeSettings): Promise<[number, string]> {
  const started = startProcess(t, settings)
  const code = await started.ended
  return [code, complaint(started)]
}

/** Predictions on kept connections until the node closes each; counts what came of them. */
function load(url: string, connections: number) {
  const counts = { answered: 0, refused: 0, lost: 0 }
  const one = async (): Promise<void> => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    for (let open = true; open; ) {
      try {
        const answer = await predict(url, agent)
        if (answer.status === 200) counts.answered += 1
        else counts.refused += 1
        open = !answer.closes
      } catch {
        counts.lost += 1
        open = false
      }
    }
    agent.destroy()
  }
  const done = Promise.all(Array.from({ length: connections }, one))
  return { counts, done }
}

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  t.test(`${signal} under load: everything is answered, nothing is left`, async (t) => {
    const started = startProcess(t, { env: DEMO, args: ['--drain-ms=60000'] })
    const { url, pid } = await readyLine(started)
    const { counts, done } = load(url, 8)
    while (counts.answered < 200) await sleep(5)
    const startMs = performance.now()
    process.kill(pid, signal)
    t.equal(await started.ended, 0, 'exit code')
    t.ok(performance.now() - startMs < 30_000, 'long before the drain limit')
    await done
    t.equal(counts.lost, 0, `${JSON.stringify(counts)}`)
    t.same(await remaining(started), [])
  })
}

t.test('SIGTERM to `npm start` reaches the node, flags pass through', async (t) => {
  const project = builtProject(t)
  const command = ['npm', '--prefix', project, 'start', '--']
  const started = startProcess(t, { args: ['--port', '0', '--log-level', 'debug'] }, command)
  const { url, pid } = await readyLine(started)
  t.not(pid, started.child.pid, 'npm is the parent')
  t.match(url, /^http:\/\/127.0.0.1:\d+$/)
  started.child.kill('SIGTERM')
  await started.ended
  t.same(await remaining(started), [])
  t.match(started.log(), /"msg":"stopped"/, 'the node ended in order')
})

/** A project as npm sees it, with this build as its dist/, so that nothing is built here. */
function builtProject(t: Test): string {
  const project = mkdtempSync(join(tmpdir(), 'switchyard-project-'))
  t.teardown(() => rmSync(project, { recursive: true, force: true }))
  for (const folder of ['core', 'workers', 'admin', 'bench', 'test/tools', 'dist']) {
    mkdirSync(join(project, folder), { recursive: true })
  }
  for (const file of [
    'package.json',
    'package-lock.json',
    'tsconfig.json',
    'core/preflight.mjs',
    'test/tools/build.mjs',
  ]) {
    copyFileSync(join(ROOT, file), join(project, file))
  }
  symlinkSync(join(ROOT, 'node_modules'), join(project, 'node_modules'))
  const build = join(compiled('core/main.ts'), '../..')
  for (const folder of ['core', 'workers', 'admin']) {
    symlinkSync(join(build, folder), join(project, 'dist', folder))
  }
  // Last, and a copy: what it was built with is in it, and its time says that all else is older.
  copyFileSync(join(build, '.built'), join(project, 'dist/.built'))
  return project
}

t.test('a second start on the same port or data directory ends with one line', async (t) => {
  const first = await startNode(t)
  const port = new URL(first.url).port
  const adminPort = new URL(first.adminUrl).port

  const [portCode, portLine] = await refusedStart(t, { args: ['--port', port] })
  t.equal(portCode, 1)
  t.match(
    portLine,
    new RegExp(`^switchyard: 127.0.0.1 port ${port} is in use by process \\d+; .*--port$`),
  )

  const [adminCode, adminLine] = await refusedStart(t, { args: ['--admin-port', adminPort] })
  t.equal(adminCode, 1)
  t.match(
    adminLine,
    new RegExp(`port ${adminPort} is in use by process ${first.pid}; .*--admin-port$`),
  )

  const [homeCode, homeLine] = await refusedStart(t, { home: first.home })
  t.equal(homeCode, 1)
  t.match(homeLine, new RegExp(`held by process ${first.pid}; .*--home$`))
  t.notMatch(homeLine, '\n')

  t.equal((await fetch(`${first.adminUrl}/admin/api/health`)).status, 200, 'the first serves on')
  t.equal((await predict(first.url)).status, 404, 'no demo here, but an answer')
  t.equal(await first.stop(), 0)
  // The connections of before linger in the kernel; they must not keep the port.
  const again = await startNode(t, { args: ['--port', port], home: first.home })
  t.equal(new URL(again.url).port, port)
})

t.test('starts that cannot succeed', async (t) => {
  const [optionCode, optionLine] = await refusedStart(t, { args: ['--port', '70000'] })
  t.equal(optionCode, 2)
  t.match(optionLine, /^switchyard: --port: "70000" is not allowed; .*0 to 65535$/)

  const [keyCode, keyLine] = await refusedStart(t, { env: { SWITCHYARD_ADMIN_KEY: 'too-short' } })
  t.equal(keyCode, 2)
  t.match(keyLine, /^switchyard: SWITCHYARD_ADMIN_KEY: its value is not allowed; .*24 characters$/)

  const args = ['--tls-cert', join(ROOT, 'package.json'), '--tls-key', join(ROOT, 'package.json')]
  const [tlsCode, tlsLine] = await refusedStart(t, { args })
  t.equal(tlsCode, 1)
  t.match(tlsLine, /^switchyard: --tls-cert .*package\.json: holds no whole certificate/)

  // Not a node that shares the port in silence: any other program.
  const other = createServer().listen(0, '127.0.0.1')
  t.teardown(() => other.close())
  await new Promise((resolve) => other.once('listening', resolve))
  const address = other.address()
  const port = String(typeof address === 'object' ? address?.port : '')
  const [, portLine] = await refusedStart(t, { args: ['--port', port] })
  t.match(portLine, new RegExp(`port ${port} is in use by process ${process.pid};`))
})

t.test('--version and --help', async (t) => {
  const run = (flag: string) =>
    spawnSync(process.execPath, [compiled('core/main.ts'), ...flag.split(' ')], {
      encoding: 'utf8',
    })
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  t.equal(run('--version').stdout, `${version}\n`)
  const help = run('serve --help')
  t.equal(help.status, 0)
  t.match(help.stdout, '--admin-port')
})

t.test('a serving process that is killed is replaced on the same port', async (t) => {
  const node = await startNode(t, { env: DEMO })
  const killed = await servePid(node.log)
  t.equal((await predict(node.url)).status, 200)
  const startMs = performance.now()
  process.kill(killed, 'SIGKILL')
  await until(async () => {
    const status = await predict(node.url).then(
      (answer) => answer.status,
      () => 0,
    )
    return status === 200
  })
  t.comment(`answers again after ${Math.round(performance.now() - startMs)} ms`)
  // Where several serve, the others have answered meanwhile.
  await until(async () => {
    const health = JSON.parse(await (await fetch(`${node.adminUrl}/admin/api/health`)).text())
    return health.status === 'HEALTHY' && health.details.serving.replaced === 1
  })
  t.not(await servePid(node.log), killed)
  t.match(node.log(), /"how":"SIGKILL"/)
  t.equal(await node.stop(), 0)
})

/** Of the newest serving process that opened the port. */
async function servePid(log: () => string): Promise<number> {
  const lines = log()
    .split('\n')
    .filter((line) => line.includes('queries are served'))
  return JSON.parse(lines.at(-1) ?? '{}').pid
}

t.test('control killed: serve and a forge at work are gone soon', async (t) => {
  const started = startProcess(t)
  const { adminUrl, pid } = await readyLine(started)
  const { upload } = await uploadEndlessLoop(started, adminUrl)
  t.ok(started.processes().length >= 3, 'control, serve, forge')
  process.kill(pid, 'SIGKILL')
  await started.ended
  t.same(await remaining(started), [])
  await t.rejects(upload)
})

t.test('a second signal ends at once, whatever is under way', async (t) => {
  const started = startProcess(t)
  const { adminUrl, pid } = await readyLine(started)
  // Its body never comes: the node waits for it as long as for any request.
  const held = request(`${adminUrl}/admin/api/services`, {
    method: 'POST',
    headers: { authorization: `Bearer ${started.adminKey}`, 'content-length': 100 },
  })
  const cut = once(held, 'error')
  held.write('{')
  await sleep(200)
  process.kill(pid, 'SIGTERM')
  await sleep(20)
  process.kill(pid, 'SIGTERM')
  await sleep(700)
  t.ok(existsSync(`/proc/${pid}`), 'the same signal again, within half a second, is one wish')
  // Where the first one was seen late, this one too is within half a second of it.
  const again = setInterval(() => process.kill(pid, 'SIGTERM'), 1_000)
  process.kill(pid, 'SIGTERM')
  t.equal(await started.ended.finally(() => clearInterval(again)), 1)
  t.same(await remaining(started), [])
  t.match(await cut, [{ code: 'ECONNRESET' }])
})

t.test('a bundle that is tried does not keep the node from stopping', async (t) => {
  const started = startProcess(t, { args: ['--drain-ms=60000'] })
  const { adminUrl, pid } = await readyLine(started)
  const { upload } = await uploadEndlessLoop(started, adminUrl)
  const startedMs = performance.now()
  process.kill(pid, 'SIGTERM')
  const answer = await upload
  t.match([answer.status, await answer.json()], [503, { code: 'ERR_STOPPING' }])
  t.equal(await started.ended, 0)
  const ms = performance.now() - startedMs
  t.ok(ms < 30_000, `${ms} ms`)
  t.same(readdirSync(join(started.home, 'staging')), [])
  t.same(await remaining(started), [])
})

/** Resolves when the forge is inside the model, which never ends. */
async function uploadEndlessLoop(started: StartedProcess, adminUrl: string) {
  const headers = { authorization: `Bearer ${started.adminKey}` }
  const services = `${adminUrl}/admin/api/services`
  const json = { ...headers, 'content-type': 'application/json' }
  await fetch(services, { method: 'POST', headers: json, body: '{"serviceId":"loop"}' })
  const manifest = {
    formatVersion: 1,
    endpoints: [{ id: 'e', type: 'STD_PREDICTION', model: 'm.onnx', prediction: 'RAW' }],
  }
  const archive = zip([
    { name: 'service.json', data: JSON.stringify(manifest) },
    { name: 'm.onnx', data: endlessLoop() },
  ])
  const body = new FormData()
  body.set('file', new Blob([archive]), 'g1.zip')
  const upload = fetch(`${services}/loop/generations`, { method: 'POST', headers, body })
  // A rejection before the test looks at it is no surprise.
  upload.catch(() => {})
  const generation = `${services}/loop/generations/g1`
  await until(async () => {
    const view = asObject(await (await fetch(generation, { headers })).json())
    return view['phase'] === 'testing' || view['phase'] === 'measuring'
  })
  return { upload }
}

function asObject(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}

t.test('a signal during the start ends it in order', async (t) => {
  const started = startProcess(t, { env: DEMO })
  while (!started.log().includes('queries are served')) await sleep(2)
  started.child.kill('SIGTERM')
  t.equal(await started.ended, 0)
  t.notMatch(started.stdout(), 'ready')
  t.same(await remaining(started), [])
})

t.test('first start without a terminal: key in a file, demo command in the log', async (t) => {
  const home = freshHome(t)
  const env = { SWITCHYARD_ADMIN_KEY: '', SWITCHYARD_DEMO: '' }
  const first = startProcess(t, { home, env })
  const { adminUrl } = await readyLine(first)
  const path = join(home, 'first-admin-key')
  const key = readFileSync(path, 'utf8').trim()
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.equal(statSync(home).mode & 0o777, 0o700)
  t.match(first.log(), path)
  t.notMatch(first.log() + first.stdout(), key, 'the key itself is in no output')
  t.equal(first.stdout().trim().split('\n').length, 1, 'stdout is the ready line')
  t.equal((await listServices(adminUrl, key)).length, 1)
  runCurl(t, first)
  first.child.kill('SIGTERM')
  t.equal(await first.ended, 0)

  const second = startProcess(t, { home, env })
  const ready = await readyLine(second)
  t.equal((await listServices(ready.adminUrl, key)).length, 1, 'key and demo are still there')
  runCurl(t, second)
})

async function listServices(adminUrl: string, key: string): Promise<unknown[]> {
  const headers = { authorization: `Bearer ${key}` }
  const services = await (await fetch(`${adminUrl}/admin/api/services`, { headers })).json()
  return Array.isArray(services) ? services : []
}

/** Pastes the command of the log into a shell. */
function runCurl(t: Test, started: StartedProcess): void {
  const line =
    started
      .log()
      .split('\n')
      .find((text) => text.includes('"command"')) ?? '{}'
  const { command } = JSON.parse(line)
  t.match(command, /^curl /)
  if (spawnSync('curl', ['--version']).error !== undefined) return void t.pass('no curl here')
  const answer = JSON.parse(execFileSync('sh', ['-c', `${command} -sS`], { encoding: 'utf8' }))
  t.type(answer.result?.prediction, 'string', JSON.stringify(answer))
}

t.test('children see no admin key', async (t) => {
  const node = await startNode(t)
  const environment = readFileSync(`/proc/${await servePid(node.log)}/environ`, 'utf8')
  t.notMatch(environment, node.adminKey)
  t.match(environment, 'SWITCHYARD_HOME')
})
