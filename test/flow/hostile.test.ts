/**
 * Goal: a model that nobody has run before can do no harm. Method: real hostile models are uploaded
 * one after the other while another service answers a steady load; each must be refused with its
 * own reason, and the load must not lose one request.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openLoop } from '../../bench/open-loop.ts'
import { ROOT } from '../../bench/paths.ts'
import { bundleOf, Client, demoBundle } from '../tools/client.ts'
import { startNode } from '../tools/node.ts'
import { allocates, classifier, endlessLoop, int4Output } from '../tools/onnx-models.ts'

const FORGE_MS = 10_000
const MEMORY_BYTES = 3 * 2 ** 30
const FLOATS = 16 * 2 ** 30

interface Hostile {
  readonly name: string
  readonly model: Buffer
  readonly status: number
  /** What the refusal must say, so that a person knows what to do. */
  readonly says: RegExp
}

const HOSTILE: readonly Hostile[] = [
  { name: 'int4', model: int4Output(), status: 422, says: /int4/i },
  { name: 'allocates', model: allocates(FLOATS), status: 422, says: /memory|allocat/i },
  { name: 'loops', model: endlessLoop(), status: 422, says: /did not finish|time/i },
  {
    name: 'truncated',
    model: classifier(40, 3).subarray(0, 300),
    status: 422,
    says: /model\.onnx/,
  },
  {
    name: 'text',
    model: readFileSync(join(ROOT, 'package.json')),
    status: 422,
    says: /model\.onnx/,
  },
]

t.setTimeout(240_000)

t.test('hostile models are refused while another service loses nothing', async (t) => {
  const node = await startNode(t, {
    env: {
      SWITCHYARD_FORGE_MS: String(FORGE_MS),
      SWITCHYARD_FORGE_MEMORY_BYTES: String(MEMORY_BYTES),
    },
  })
  const client = new Client(node)
  await client.deploy('cancer', 'v1', demoBundle('cancer-v1.zip'))
  const { body } = JSON.parse(readFileSync(join(ROOT, 'bench/demo/demo.json'), 'utf8'))
  const load = openLoop({
    url: client.queryUrl('cancer/predict/predict'),
    bodies: [JSON.stringify(body)],
    connections: 32,
    ratePerS: 500,
    seconds: null,
  })
  await client.admin('POST', '/services', { serviceId: 'victim' })
  for (const { name, model, status, says } of HOSTILE) {
    const reply = await client.upload('victim', name, bundleOf(model))
    t.comment(`${name}: ${reply.status} ${reply.body.detailedMessage}`)
    t.equal(reply.status, status, name)
    t.match(reply.body.detailedMessage, says, name)
    t.notMatch(JSON.stringify(reply.body), node.home, 'no path of this machine is told')
  }
  load.stop()
  const report = await load.done
  t.comment(JSON.stringify({ sent: report.sent, latencyUs: report.latencyUs }))
  t.ok(report.sent > 1_000, `${report.sent} predictions meanwhile`)
  t.equal(report.failed + report.non2xx, 0, JSON.stringify([report.reasons, report.statuses]))
  const left = await client.admin('GET', '/services/victim/generations')
  t.same(left.body, [], 'nothing of a refused bundle is kept')
  const health = await client.admin('GET', '/health')
  t.equal(health.body.status, 'HEALTHY')
})
