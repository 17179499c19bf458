/**
 * Goal: a node that is killed while it compiles, and a disk that is full, leave nothing behind that
 * could be taken for a form, and cost nothing but the form.
 */

import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { compileModel } from '../../workers/compile/compile.ts'
import { Client } from '../tools/client.ts'
import { compileRequest, removeForm } from '../tools/compiling.ts'
import { DENSE_ROW, denseBundle, denseModel } from '../tools/dense-model.ts'
import { effort, sayEffort } from '../tools/effort.ts'
import { freshHome, readyLine, remaining, startNode, startProcess } from '../tools/node.ts'
import { smallDisk, whyNoSmallDisk } from '../tools/small-disk.ts'
import { until } from '../tools/waiting.ts'

t.setTimeout(280_000)

const MIB = 1024 * 1024
const KILLS = effort(2, 20)
const MODEL = denseModel({ width: 1_021, layers: 4, seed: 1 })

t.test('killed while it compiles', async (t) => {
  const home = freshHome(t)
  const folder = join(home, 'compiled')
  t.teardown(() => {
    for (const name of formsIn(folder)) removeForm(join(folder, name))
  })
  let unfinished = 0
  for (let i = 0; i < KILLS; i++) {
    const started = startProcess(t, { home })
    const ready = await readyLine(started)
    const client = new Client({ ...ready, ...started, stop: async () => 0 })
    await client.admin('POST', '/services', { serviceId: 'big' })
    const upload = client.upload('big', 'v1', denseBundle(MODEL)).catch(() => null)
    await until(() => formsIn(folder).length > 0)
    process.kill(ready.pid, 'SIGKILL')
    await upload
    await started.ended
    t.same(await remaining(started), [], 'the child ends too')
    unfinished += formsIn(folder).filter((name) => name.includes('.')).length
    for (const name of formsIn(folder)) if (!name.includes('.')) removeForm(join(folder, name))
  }
  sayEffort({ kills: KILLS, unfinished })
  t.ok(unfinished > 0, 'some were hit')
  const node = await startNode(t, { home })
  t.same(formsIn(folder), [], 'a start removes what was not finished')
  const client = new Client(node)
  await client.deploy('big', 'v1', denseBundle(MODEL))
  t.equal(formsIn(folder).length, 1)
  t.match(await client.query('big/p/predict', DENSE_ROW), { status: 200 })
})

function formsIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : []
}

const skip = whyNoSmallDisk() ?? false

t.test('a disk that is too small for the form', { skip }, async (t) => {
  // For the bundle, twice for a moment; not for a form of it beside what the runtime writes.
  const disk = smallDisk(t, 100 * MIB)
  const node = await startNode(t, { home: join(disk.path, 'data') })
  const client = new Client(node)
  const large = denseModel({ width: 1_501, layers: 4, seed: 1 })
  await client.deploy('big', 'v1', denseBundle(large))
  const { body } = await client.admin('GET', '/services/big/generations/v1')
  t.match(body.compiled, [{ form: 'original', reason: /bytes of the disk/ }])
  t.match(node.log(), /a model is not compiled/)
  t.match(await client.query('big/p/predict', DENSE_ROW), { status: 200 })
})

t.test('a disk that fills up meanwhile', { skip }, async (t) => {
  const sizes = [1, 2, 6, 12, 14, 20, 26, 30]
  const reasons: string[] = []
  for (const size of sizes) {
    const disk = smallDisk(t, size * MIB)
    const directory = join(freshHome(t), 'generation')
    mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, 'model.onnx'), MODEL)
    const request = await compileRequest(disk.path, { directory, model: 'model.onnx' })
    const outcome = await compileModel(request, () => {})
    t.match(outcome, { kind: 'original', lasting: false }, `${size} MiB`)
    if (outcome.kind === 'original') reasons.push(outcome.reason)
    t.same(readdirSync(disk.path), [], 'nothing is left')
  }
  sayEffort({ disks: sizes.length })
  for (const reason of new Set(reasons)) t.comment(reason)
})
