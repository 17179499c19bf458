/**
 * Goal: a service with an endpoint of every type behaves as one with a model. Method: all examples
 * in one bundle are imported (their test queries run in the forge), asked as callers ask, and
 * replaced by a second generation under load, with the processes of Python and R counted: of the
 * first generation none is left two seconds later, and of a stopped node none at all.
 */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import t from 'tap'
import { nowMs } from '../../core/base/clock.ts'
import { allTypesBundle, answered, exampleBundle, exampleNames, verbOf } from '../tools/bundles.ts'
import { startCallers } from '../tools/callers.ts'
import { Client } from '../tools/client.ts'
import { startNode, type TestNode } from '../tools/node.ts'
import { until } from '../tools/waiting.ts'

/** What a replaced generation's processes may take to be gone. */
const GONE_MS = 20_000
const SWITCHES = 6

/** Debian's interpreter, where the packages of Debian are; any other does for the examples too. */
const PYTHON = { SWITCHYARD_PYTHON: '/usr/bin/python3' }

/** Processes of Python and R below the node, with the generation that each one works for. */
function children(node: TestNode): { pid: number; program: string; generation: string }[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return []
    try {
      const cwd = readlinkSync(`/proc/${pid}/cwd`)
      if (!cwd.startsWith(`${node.home}/run/`)) return []
      const link = readdirSync(cwd)[0] ?? ''
      const target = readlinkSync(`${cwd}/${link}`)
      const generation = target.replace(`${node.home}/generations/`, '').split('/')[1] ?? ''
      const program = readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
      return [{ pid: Number(pid), program, generation }]
    } catch {
      return []
    }
  })
}

t.test('each example is imported as it lies there, and answers', async (t) => {
  const node = await startNode(t, { env: PYTHON })
  const client = new Client(node)
  for (const name of exampleNames()) {
    await client.deploy(name, 'v1', exampleBundle(name))
    const { body } = await client.admin('GET', `/services/${name}/generations/v1`)
    const queries = body.report.endpoints.flatMap(
      (one: { testQueries: object[] }) => one.testQueries,
    )
    t.ok(queries.length > 0, `${name} has test queries`)
    t.ok(
      queries.every((query: { passed: boolean }) => query.passed),
      `${name}: all passed`,
    )
  }
  const health = await client.admin('GET', '/health')
  t.match(health.body, { status: 'HEALTHY' })
})

t.test('one bundle with every type is switched under load', async (t) => {
  const node = await startNode(t, { env: PYTHON })
  const client = new Client(node)
  const { archive, endpoints } = allTypesBundle('v1')
  await client.deploy('all', 'v1', archive)
  const imported = await client.upload('all', 'v2', allTypesBundle('v2').archive)
  t.equal(imported.status, 200, JSON.stringify(imported.body).slice(0, 500))

  for (const { id, type, testQueries } of endpoints) {
    for (const { q, expect } of testQueries) {
      const reply = await client.query(`all/${id}/${verbOf(type)}`, q)
      t.equal(reply.status, 200, `${type} ${id} ${JSON.stringify(reply.body).slice(0, 300)}`)
      t.match(reply.body.apiContext, { serviceId: 'all', endpointId: id, serviceGeneration: 'v1' })
      t.match(rounded(answered(type, reply.body)), rounded(expect), `${type} ${id}`)
    }
  }

  const programs = new Set(children(node).map(({ program }) => program))
  t.ok(
    [...programs].some((name) => name.startsWith('python')),
    `Python runs: ${[...programs]}`,
  )
  t.ok(programs.has('R'), `R runs: ${[...programs]}`)

  const load = endpoints.map(({ id, type, testQueries }) =>
    startCallers({
      url: client.queryUrl(`all/${id}/${verbOf(type)}`),
      body: JSON.stringify(testQueries[0]?.q),
      callers: 2,
    }),
  )
  for (let i = 0; i < SWITCHES; i++) {
    const [from, to] = i % 2 === 0 ? ['v1', 'v2'] : ['v2', 'v1']
    const switched = await client.switchTo('all', to)
    t.equal(switched.status, 200, JSON.stringify(switched.body))
    const startMs = nowMs()
    const left = () => children(node).filter(({ generation }) => generation === from)
    await until(() => left().length === 0, GONE_MS)
    t.comment(`processes of ${from} were gone after ${Math.round(nowMs() - startMs)} ms`)
    t.same(left(), [], `no process of ${from} is left`)
  }
  for (const [i, callers] of load.entries()) {
    const { type, id } = endpoints[i] ?? { type: '', id: '' }
    const { answered: count, statuses, lost, reasons } = await callers.stop()
    t.same(statuses, { 200: count }, `${type} ${id}: ${count} answers`)
    t.equal(lost, 0, reasons.join('; '))
    t.ok(count > SWITCHES, `${type} ${id} was asked all the while`)
  }
  t.equal(await node.stop(), 0)
  t.same(children(node), [], 'a stopped node leaves no process')
})

/** Numbers to four digits, as test queries compare them. */
function rounded(value: unknown): unknown {
  const text = JSON.stringify(value, (_, item) =>
    typeof item === 'number' ? Number(item.toFixed(3)) : item,
  )
  return JSON.parse(text ?? 'null')
}
