/**
 * Goal: whoever generates a client from one of the node's documents has a client that works.
 * Method: a well-known generator (openapi-python-client) reads the documents of a running node;
 * what it writes is run as it is and asks that node. The generator comes from a virtual environment
 * whose interpreter TEST_PYTHON names; `.ci/run` makes it.
 */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { ROOT } from '../../bench/paths.ts'
import { allTypesBundle } from '../tools/bundles.ts'
import { Client } from '../tools/client.ts'
import { startNode } from '../tools/node.ts'

const python = process.env['TEST_PYTHON'] ?? ''
const LIMIT_MS = 120_000

t.setTimeout(240_000)

function whyNot(): string | false {
  const how = 'TEST_PYTHON must name a Python that has openapi-python-client'
  if (!existsSync(python)) return how
  const { status } = spawnSync(python, ['-c', 'import openapi_python_client'])
  return status === 0 ? false : how
}

/** The generator formats what it writes by ruff, which lies beside its interpreter. */
function runPython(args: readonly string[]) {
  const path = [dirname(python), process.env['PATH'] ?? ''].join(delimiter)
  const env = { ...process.env, PATH: path, PYTHONDONTWRITEBYTECODE: '1' }
  return spawnSync(python, args, { encoding: 'utf8', timeout: LIMIT_MS, env })
}

interface Generating {
  readonly folder: string
  readonly name: string
  readonly url: string
  readonly headers?: Record<string, string>
}

/** What the generator warned of, one line each. */
async function generate(t: Test, { folder, name, url, headers = {} }: Generating) {
  const response = await fetch(url, { headers })
  const file = join(folder, `${name}.json`)
  writeFileSync(file, await response.text())
  const output = ['--output-path', join(folder, name), '--meta', 'none']
  const run = runPython(['-m', 'openapi_python_client', 'generate', '--path', file, ...output])
  t.equal(run.status, 0, run.stderr)
  const text = `${run.stdout}${run.stderr}`
  return text.split('\n').filter((line) => /^(WARNING|ERROR|Unable|Unsupported)/.test(line))
}

t.test('clients that are generated from the documents', { skip: whyNot() }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-generated-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const node = await startNode(t, { env: { SWITCHYARD_PYTHON: '/usr/bin/python3' } })
  await new Client(node).deploy('all', 'v1', allTypesBundle('v1').archive)

  const service = `${node.url}/public/api/v1/all/openapi.json`
  t.same(await generate(t, { folder, name: 'service_client', url: service }), [])
  const admin = `${node.adminUrl}/openapi.json`
  const headers = { authorization: `Bearer ${node.adminKey}` }
  const warned = await generate(t, { folder, name: 'admin_client', url: admin, headers })
  t.match(warned, [/POST .*\/generations within/, /application\/zip/], 'it uploads forms only')
  t.equal(warned.length, 2)

  const script = join(ROOT, 'test/interop/openapi_clients.py')
  const asked = runPython([script, folder, node.url, node.adminUrl, node.adminKey])
  t.equal(asked.status, 0, asked.stderr)
  const said = JSON.parse(asked.stdout)
  t.match(said, {
    prediction: 'late',
    generation: 'v1',
    predictions: ['late', 'on time'],
    refused: [400, 'ERR_FEATURE_INVALID', /kg/],
    parcels: 48,
    rows: [
      ['1003', '2026-09-14', '18.4'],
      ['1007', '2026-11-02', '240'],
    ],
    price: 10.41,
    services: ['all'],
    active: 'v1',
    key: 'sk_',
  })
  t.ok(said.late > 0.9)
})
