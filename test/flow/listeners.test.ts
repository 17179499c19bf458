/**
 * Goal: the other ways to listen. Method: a started node with a certificate, asked over TLS on both
 * ports; and a copy of the built program whose uWebSockets.js has no binary, as on a Node that its
 * authors do not support, which must serve by node:http and say so.
 */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { get } from 'node:https'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { compiled } from '../../bench/paths.ts'
import { Client, demoBundle } from '../tools/client.ts'
import { readyLine, servingProcesses, startNode, startProcess } from '../tools/node.ts'
import { withoutUws } from '../tools/without-uws.ts'

function temporary(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-listen-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A certificate for 127.0.0.1 that signs itself. */
function certificate(folder: string): { cert: string; key: string } {
  const cert = join(folder, 'cert.pem')
  const key = join(folder, 'key.pem')
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1']
  const files = ['-keyout', key, '-out', cert, '-days', '2', '-nodes']
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', ...files, ...subject], {
    stdio: 'ignore',
  })
  return { cert, key }
}

function getStatus(url: string, ca: Buffer | undefined): Promise<number | string> {
  return new Promise((resolve) => {
    const request = get(url, { ca }, (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
    request.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'))
  })
}

t.test('with a certificate both ports speak TLS', async (t) => {
  const { cert, key } = certificate(temporary(t))
  const node = await startNode(t, { args: ['--tls-cert', cert, '--tls-key', key] })
  t.match(node.url, /^https:/)
  t.match(node.adminUrl, /^https:/)
  const ca = readFileSync(cert)
  t.equal(await getStatus(`${node.url}/isAlive/`, ca), 200)
  t.equal(await getStatus(`${node.adminUrl}/admin/api/health`, ca), 200)
  t.match(await getStatus(`${node.url}/isAlive/`, undefined), /SELF_SIGNED|UNABLE_TO_VERIFY/)
  await t.rejects(fetch(node.url.replace('https:', 'http:')), 'plain HTTP is not answered')
})

t.test('a certificate that cannot be read ends the start with one line', async (t) => {
  const args = ['--tls-cert', '/nowhere/cert.pem', '--tls-key', '/nowhere/key.pem']
  const started = startProcess(t, { args })
  t.not(await started.ended, 0)
  const lines = started
    .log()
    .split('\n')
    .filter((line) => line.startsWith('switchyard:'))
  t.equal(lines.length, 1, started.log())
  t.match(lines[0], /cert\.pem/)
})

t.test('more connections than files: the node refuses the rest, and goes on', async (t) => {
  const limited = ['bash', '-c', 'ulimit -n 256 && exec "$0" "$@"']
  const started = startProcess(t, {}, [...limited, process.execPath, compiled('core/main.ts')])
  const ready = await readyLine(started)
  t.match(started.log(), /few open files/)
  const { adminKey, home, log } = started
  const client = new Client({ ...ready, adminKey, home, log, stop: () => started.ended })
  const port = Number(new URL(ready.url).port)
  const sockets = Array.from({ length: 400 }, () => connect(port, '127.0.0.1'))
  t.teardown(() => sockets.forEach((socket) => void socket.destroy()))
  let closed = 0
  for (const socket of sockets) {
    socket.on('error', () => {})
    socket.on('close', () => {
      closed += 1
    })
    socket.resume()
  }
  // Each process may open 256 files.
  const refused = sockets.length - 128 * servingProcesses()
  while (closed < refused) await sleep(10)
  await sleep(50)
  t.equal(closed, refused, 'half of the files is for connections')
  await client.deploy('iris', 'v1', demoBundle('iris-v1.zip'))
  t.match(await client.admin('GET', '/services/iris'), { body: { pools: [{ state: 'active' }] } })
})

t.test('without a binary of uWebSockets.js queries are served, and the log says so', async (t) => {
  const program = withoutUws(temporary(t))
  // One, since node:http cannot share a port.
  const settings = { args: ['--processes', '1'] }
  const started = startProcess(t, settings, [process.execPath, program])
  const ready = await readyLine(started)
  const said = started
    .log()
    .split('\n')
    .filter((line) => line.includes('SLOW HTTP'))
  t.equal(said.length, 1, 'one loud line')
  const { adminKey, home, log } = started
  const stop = async () => {
    started.child.kill('SIGTERM')
    return started.ended
  }
  const client = new Client({ ...ready, adminKey, home, log, stop })
  await client.deploy('iris', 'v1', demoBundle('iris-v1.zip'))
  const key = (await client.admin('POST', '/auth/keys', { label: 'x' })).body.key
  const features = Object.fromEntries(
    ['sepal length (cm)', 'sepal width (cm)', 'petal length (cm)', 'petal width (cm)'].map(
      (name, i) => [name, [5.1, 3.5, 1.4, 0.2][i]],
    ),
  )
  const ask = (headers: Record<string, string>) =>
    client.query('/iris//predict/predict', { features }, headers)
  const answer = await ask({ authorization: `Bearer ${key}` })
  t.match(answer, { status: 200, body: { result: { prediction: 'v1:setosa' } } })
  t.equal(answer.headers.get('dss-api-version'), '1.0')
  t.match(await ask({}), { status: 401, body: { code: 'ERR_AUTH_MISSING' } })
  t.equal(await stop(), 0)
})
