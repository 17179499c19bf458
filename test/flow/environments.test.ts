/**
 * Goal: a virtual environment is there as long as a generation needs it, and no longer; where it
 * was lost, as in a data directory that was restored, a load makes it again.
 *
 * Method: a real node with bundles that bring a wheel of their own; no network.
 */

import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { zip } from '../../bench/workloads/zip-writer.ts'
import { Client } from '../tools/client.ts'
import { freshHome, startNode } from '../tools/node.ts'
import { whyNoPython } from '../tools/python-endpoints.ts'
import { wheel } from '../tools/wheels.ts'

t.setTimeout(240_000)

const skip = whyNoPython('venv', 'ensurepip')
const PYTHON = { SWITCHYARD_PYTHON: '/usr/bin/python3' }
const CODE = 'import switchyard_probe\ndef f(): return switchyard_probe.VERSION\n'

function bundle(version: string, code = CODE): Buffer {
  const endpoint = { id: 'f', type: 'PYTHON_FUNCTION', file: 'f.py', function: 'f', children: 1 }
  const python = { requirements: 'requirements.txt', wheels: 'wheels' }
  const manifest = { formatVersion: 1, authorization: 'PUBLIC', python, endpoints: [endpoint] }
  const name = `wheels/switchyard_probe-${version}-py3-none-any.whl`
  return zip([
    { name: 'service.json', data: JSON.stringify(manifest) },
    { name: 'f.py', data: code },
    { name: 'requirements.txt', data: `switchyard_probe==${version}\n` },
    { name, data: wheel('switchyard_probe', version) },
  ])
}

t.test('environments come and go with their generations', { skip }, async (t) => {
  const home = freshHome(t)
  const environments = join(home, 'environments')
  const node = await startNode(t, { env: PYTHON, home })
  const client = new Client(node)
  await client.deploy('one', 'v1', bundle('1.0'))
  await client.deploy('two', 'v1', bundle('1.0'))
  const [shared = ''] = readdirSync(environments)
  t.same(readdirSync(environments), [shared])
  await client.deploy('one', 'v2', bundle('1.1'))
  t.equal(readdirSync(environments).length, 2)
  t.equal((await client.admin('DELETE', '/services/one/generations/v1')).status, 204)
  t.equal(readdirSync(environments).length, 2, 'the other service needs it')
  t.equal((await client.admin('DELETE', '/services/one')).status, 204)
  t.same(readdirSync(environments), [shared])
  const refused = await client.upload('two', 'bad', bundle('1.2', 'def g(): pass\n'))
  t.equal(refused.status, 422)
  t.equal(await node.stop(), 0)

  // Those of the refused import, of a build that was killed, and what is somebody else's.
  mkdirSync(join(environments, `${shared}.0123456789ab`))
  mkdirSync(join(environments, 'notes'))
  const again = await startNode(t, { env: PYTHON, home })
  t.same(readdirSync(environments).sort(), [shared, 'notes'].sort())
  const ask = (of: Client) => of.query('two/f/run', {})
  t.match(await ask(new Client(again)), { status: 200, body: { response: '1.0' } })
  t.equal(await again.stop(), 0)

  rmSync(environments, { recursive: true })
  const restored = await startNode(t, { env: PYTHON, home })
  t.match(await ask(new Client(restored)), { status: 200, body: { response: '1.0' } })
  t.same(readdirSync(environments), [shared])
})
