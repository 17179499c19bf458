/**
 * Goal: a machine without Python and R is told so in one sentence, and serves everything else.
 * Method: a node whose PATH is empty gets the examples of all types; those that need an interpreter
 * are refused with the command that installs it, the others are imported, switched to and asked.
 */

import t from 'tap'
import { exampleBundle, exampleNames } from '../tools/bundles.ts'
import { Client } from '../tools/client.ts'
import { startNode } from '../tools/node.ts'

const REFUSED: Readonly<Record<string, RegExp>> = {
  'custom-prediction': /needs Python 3: install it with "apt-get install python3", .*--python/,
  'python-function': /needs Python 3: install it with "apt-get install python3", .*--python/,
  'custom-r-prediction': /needs R: install it with "apt-get install r-base-core", .*--rscript/,
  'r-function': /needs R: install it with "apt-get install r-base-core", .*--rscript/,
}

t.test('an empty PATH', async (t) => {
  const client = new Client(await startNode(t, { env: { PATH: '' } }))
  const health = await client.admin('GET', '/health')
  t.match(health.body.details.runtimes, { python: null, r: null })
  for (const name of exampleNames()) {
    await client.admin('POST', '/services', { serviceId: name })
    const imported = await client.upload(name, 'v1', exampleBundle(name))
    const sentence = REFUSED[name]
    if (sentence === undefined) {
      t.equal(imported.status, 200, `${name}: ${JSON.stringify(imported.body).slice(0, 300)}`)
      t.equal((await client.switchTo(name, 'v1')).status, 200, name)
      continue
    }
    t.equal(imported.status, 422, `${name} is refused`)
    t.match(imported.body, { code: 'ERR_INTERPRETER_MISSING', detailedMessage: sentence })
    t.equal(imported.body.faults.length, 1, 'in one sentence')
  }
  const asked = [
    await client.query('std-prediction/late/predict', { features: { kg: 12, km: 900 } }),
    await client.query('sql-query/orders/query', { customer: 'ada', since: '2026-09-01' }),
    await client.query('dataset-lookup/customer/lookup', { data: { id: 'ada' } }),
  ]
  t.same(
    asked.map(({ status }) => status),
    [200, 200, 200],
  )
})
