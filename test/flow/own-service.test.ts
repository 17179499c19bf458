/**
 * Goal: code of an endpoint asks other endpoints of its own service, on any port, over TLS too.
 *
 * Method: real nodes on ports of their own choice, with a function of two processes that asks
 * another function and a lookup through get_self_client().
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { get } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { zip } from '../../bench/workloads/zip-writer.ts'
import { issue, withoutOpenssl } from '../tools/certificates.ts'
import { Client } from '../tools/client.ts'
import { freshHome, readyLine, remaining, startNode, startProcess } from '../tools/node.ts'
import { whyNoPython } from '../tools/python-endpoints.ts'
import { until } from '../tools/waiting.ts'

t.setTimeout(240_000)

const skip = whyNoPython()
const PYTHON = { SWITCHYARD_PYTHON: '/usr/bin/python3' }
const CODE = `
from dataiku.apinode import utils

def double(x=1):
    return x * 2

def ask(x=1):
    client = utils.get_self_client()
    name = client.lookup_record("names", {"id": "b"})["data"]["name"]
    return [client.run_function("double", x=x)["response"], name]
`

/** The endpoint that asks is run as soon as it is loaded where it has a test query. */
function bundle(variables: object, testQueries: readonly object[] = []): Buffer {
  const code = { type: 'PYTHON_FUNCTION', file: 'f.py', children: 2, get: true }
  const lookups = [{ table: 'names' }]
  const manifest = {
    formatVersion: 1,
    authorization: 'PUBLIC',
    tables: [{ name: 'names', file: 'names.csv', key: ['id'] }],
    endpoints: [
      { ...code, id: 'double', function: 'double' },
      { ...code, id: 'ask', function: 'ask', variables, testQueries },
      { id: 'names', type: 'DATASET_LOOKUP', lookups },
    ],
  }
  return zip([
    { name: 'service.json', data: JSON.stringify(manifest) },
    { name: 'f.py', data: CODE },
    { name: 'names.csv', data: 'id,name\na,Ann\nb,Ben\n' },
  ])
}

t.test('what is killed takes its children with it', { skip }, async (t) => {
  const started = startProcess(t, { env: PYTHON })
  const { adminKey, home, log, child, ended } = started
  const ready = await readyLine(started)
  const client = new Client({ ...ready, adminKey, home, log, stop: () => ended })
  const before = started.processes().length
  await client.deploy('own', 'v1', bundle({}))
  await until(() => started.processes().length >= before + 6)
  child.kill('SIGKILL')
  t.same(await remaining(started), [], 'two of each function and a spare are gone')
})

t.test('a function asks a function and a lookup of its service', { skip }, async (t) => {
  const home = freshHome(t)
  const node = await startNode(t, { env: PYTHON, home, args: ['--host', '0.0.0.0'] })
  const client = new Client(node)
  await client.deploy('own', 'v1', bundle({}))
  const ask = (of: Client) => of.query('own/ask/run', { x: 21 })
  t.match(await ask(client), { status: 200, body: { response: [42, 'Ben'] } })
  await client.deploy('own', 'v2', bundle({}, [{ q: { x: 2 }, expect: [4, 'Ben'] }]))
  t.match(await ask(client), { body: { apiContext: { serviceGeneration: 'v2' } } }, 'in the forge')
  const four = await Promise.all([1, 2, 3, 4].map(() => ask(client)))
  t.same(new Set(four.map(({ status }) => status)), new Set([200]))
  t.equal(await node.stop(), 0)

  const again = await startNode(t, { env: PYTHON, home })
  t.not(again.url, node.url)
  const said = await ask(new Client(again))
  t.match(said, { status: 200, body: { response: [42, 'Ben'] } }, 'warmed up before the port was')
})

t.test(
  'over TLS the certificate has to be trusted',
  { skip: skip || withoutOpenssl },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'switchyard-own-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const { cert, key } = issue(folder, 'node')
    const home = freshHome(t)
    const plain = await startNode(t, { env: PYTHON, home })
    const client = new Client(plain)
    await client.deploy('blind', 'v1', bundle({}))
    await client.deploy('trusting', 'v1', bundle({ SSL_CERT_FILE: cert }))
    t.equal(await plain.stop(), 0)
    const node = await startNode(t, {
      env: PYTHON,
      home,
      args: ['--tls-cert', cert, '--tls-key', key],
    })
    const ca = readFileSync(cert)
    const ask = (service: string) =>
      new Promise<{ status: number; text: string }>((resolve, reject) => {
        const url = `${node.url}/public/api/v1/${service}/ask/run?x=3`
        get(url, { ca }, async (reply) => {
          let text = ''
          for await (const chunk of reply.setEncoding('utf8')) text += chunk
          resolve({ status: reply.statusCode ?? 0, text })
        }).on('error', reject)
      })
    t.match(await ask('trusting'), { status: 200, text: /"response": ?\["33", ?"Ben"\]/ })
    t.match(await ask('blind'), {
      status: 500,
      text: /certificate of 127.0.0.1:\d+ is not trusted/,
    })
  },
)
