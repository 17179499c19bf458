/**
 * Goal: no archive and no model, however damaged, does more than being refused. Method: archives
 * near to good ones, and good ones around models with changed bytes, with a seed: by the thousand
 * through the forge's own code in children under its limits, and some of them as uploads to a node
 * whose neighbour service is asked meanwhile; what it accepts is deleted again, and of the rest
 * nothing may be left. SEED=… repeats a run, EFFORT=10 makes 5,000 archives and 2,000 models.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ROOT } from '../../bench/paths.ts'
import { bundleEntries, type ZipEntry } from '../../bench/workloads/zip-writer.ts'
import { ERROR_TABLE } from '../../core/base/errors.ts'
import { bundleOf, type Client, type Reply } from '../tools/client.ts'
import { effortShare, sayEffort } from '../tools/effort.ts'
import { archiveNear } from '../tools/fuzz/archives.ts'
import { changed, shown } from '../tools/fuzz/bytes.ts'
import { type Forges, forges, type Outcome } from '../tools/fuzz/forges.ts'
import { type Watched, watchedNode } from '../tools/fuzz/watched.ts'
import { generationsOnDisk } from '../tools/history.ts'
import { classifier, mixedPipeline, regressor } from '../tools/onnx-models.ts'
import { type Random, randomOf } from '../tools/random.ts'

const ARCHIVES = effortShare(400, 5_000)
const MODELS = effortShare(100, 2_000)
const UPLOADS = effortShare(10, 200)
/** A model that comes to no end is given up after this; a busy machine is slow to unpack, too. */
const FORGE_MS = 15_000
const UPLOAD_MS = 90_000
/** What an upload may lead to beside success. */
const REFUSALS = [400, 413, 422]
/** Only the first bytes of a model say what it is made of; the rest are weights. */
const HEAD_BYTES = 2_000
const FAULTS_MAX = 5

t.setTimeout(600_000)

type Make = (random: Random) => Buffer

function archives(): Make {
  const folder = join(ROOT, 'bench/bundles/dataset-lookup')
  const lookup = readdirSync(folder).map((name) => ({
    name,
    data: readFileSync(join(folder, name)),
  }))
  const model = bundleEntries(regressor(2), {}, { authorization: 'PUBLIC' })
  const notes: ZipEntry = { name: 'extra/notes.txt', data: 'words, words' }
  return (random) => archiveNear(random, [model, lookup, [...model, notes]])
}

function models(): Make {
  const small = readFileSync(join(ROOT, 'bench/models/small.onnx'))
  const goods = [regressor(2), classifier(4, 3), mixedPipeline(), small]
  return (random) => bundleOf(modelNear(random, goods))
}

function modelNear(random: Random, goods: readonly Buffer[]): Buffer {
  const good = random.pick(goods)
  const head = good.subarray(0, HEAD_BYTES)
  if (random.next() < 0.3) return Buffer.concat([changed(random, head), good.subarray(HEAD_BYTES)])
  // In place, so that all lengths stay right and what is told is another model, not none.
  const copy = Buffer.from(good)
  for (let left = 1 + random.below(2); left > 0; left -= 1) {
    const at = random.below(random.next() < 0.5 ? head.length : good.length)
    copy[at] = random.next() < 0.5 ? random.below(256) : (copy[at] ?? 0) ^ (1 << random.below(8))
  }
  return copy
}

function faultOf({ code, detail }: Outcome): string | null {
  if (code === null) return `something was thrown: ${detail}`
  if (code === 'forged' || code === 'died' || code === 'late') return null
  const row = Object.entries(ERROR_TABLE).find(([name]) => name === code)?.[1]
  return row !== undefined && REFUSALS.includes(row.status) ? null : `${code}: ${detail}`
}

/** Two children at once; what they are given comes from one seed, in one order. */
async function tryAll(t: Test, what: string, ...[count, make]: [number, Make]): Promise<void> {
  const random = randomOf()
  const startMs = performance.now()
  const codes: Record<string, number> = {}
  const faults: string[] = []
  let tried = 0
  const caller = async (children: Forges): Promise<void> => {
    while (tried < count && faults.length < FAULTS_MAX) {
      tried += 1
      const number = tried
      const archive = make(random)
      const outcome = await children.try(archive)
      const key = outcome.code ?? 'thrown'
      codes[key] = (codes[key] ?? 0) + 1
      const fault = faultOf(outcome)
      if (fault === null) continue
      faults.push(`SEED=${random.seed} no. ${number}: ${fault}\n${shown(archive)}`)
    }
  }
  const both = [forges(FORGE_MS), forges(FORGE_MS)]
  t.teardown(() => both.forEach((children) => void children.close()))
  await Promise.all(both.map(caller))
  for (const fault of faults) t.fail(fault)
  t.same(
    both.flatMap((children) => children.left()),
    [],
    'nothing is left on disk',
  )
  const seconds = Math.round((performance.now() - startMs) / 1000)
  sayEffort({ [what]: count, seed: random.seed, seconds, codes: JSON.stringify(codes) })
  const refused = Object.keys(codes).filter((code) => code.startsWith('ERR_'))
  t.ok(codes['forged'] && refused.length > 0, 'good and bad ones')
}

t.test('48 to 57: archives near to good ones', (t) => tryAll(t, 'archives', ARCHIVES, archives()))
t.test('70: models near to good ones', (t) => tryAll(t, 'models', MODELS, models()))

t.test('uploads to a node: nothing of them is left, and nobody notices', async (t) => {
  const watched = await watchedNode(t, { env: { SWITCHYARD_FORGE_MS: String(UPLOAD_MS) } })
  const { client, node } = watched
  await client.deploy('good', 'v1', bundleOf(regressor(2)))
  await client.admin('POST', '/services', { serviceId: 's' })
  const random = randomOf()
  const makers = [archives(), models()]
  const codes: Record<string, number> = {}
  for (let number = 1; number <= UPLOADS; number += 1) {
    const bytes = makers[number % 2]?.(random) ?? Buffer.alloc(0)
    const reply = await client.upload('s', `g${number}`, bytes)
    const key = reply.status === 200 ? '200' : String(reply.body.code)
    codes[key] = (codes[key] ?? 0) + 1
    for (const fault of await uploadFaults(watched, reply)) {
      t.fail(`SEED=${random.seed} no. ${number}: ${fault}\n${shown(bytes)}`)
    }
    if (number % Math.ceil(UPLOADS / 6) === 0) await watched.look()
  }
  t.same(readdirSync(join(node.home, 'staging')), [], 'nothing is left in staging')
  const left = generationsOnDisk(node.home).filter((path) => path.includes('/'))
  t.same(left, ['good/v1'], 'nor among the generations')
  await watched.check(t)
  const { fromMib, toMib } = watched.memory()
  const found = JSON.stringify(codes)
  sayEffort({ uploads: UPLOADS, seed: random.seed, fromMib, toMib, codes: found })
})

async function uploadFaults({ client, node }: Watched, reply: Reply): Promise<string[]> {
  const { status, body } = reply
  const faults: string[] = []
  const told = JSON.stringify(body)
  if (status === 200) faults.push(...(await notDeleted(client, body.generationId)))
  else if (!REFUSALS.includes(status)) faults.push(`${status} ${told.slice(0, 500)}`)
  if (told.includes(node.home)) faults.push(`a path of this machine is told: ${told.slice(0, 500)}`)
  const neighbour = await client.query('good/p/predict', { features: { f0: 1, f1: 2 } })
  const isWell = neighbour.status === 200 && neighbour.body.result.prediction === 3
  return isWell ? faults : [...faults, `the neighbour: ${neighbour.status}`]
}

async function notDeleted(client: Client, generationId: string): Promise<string[]> {
  const { status } = await client.admin('DELETE', `/services/s/generations/${generationId}`)
  return status === 204 ? [] : [`not to be deleted: ${status}`]
}
