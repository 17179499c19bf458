/**
 * Goal: threads and processes share the weights of a compiled model; each further thread costs
 * about what a thread costs without any model.
 *
 * Method: pools of one and of four threads in processes of their own, with the model as it is and
 * compiled; memory as the kernel counts it. The model has 156 MB: matrices above the allocator's
 * fixed 16 MiB go back to the system whole, smaller ones stay with a thread or not, by chance.
 */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ALLOCATOR } from '../../../admin/serving/serve-process.ts'
import { compiled } from '../../../bench/paths.ts'
import { GARBAGE_FLAGS } from '../../../core/base/garbage.ts'
import { compiledKey } from '../../../core/bundle/compiled.ts'
import type { CompiledSettings } from '../../../core/config/runtimes.ts'
import { compileModel } from '../../../workers/compile/compile.ts'
import { compileRequest, removeForm } from '../../tools/compiling.ts'
import { DENSE_ROW, denseModel } from '../../tools/dense-model.ts'
import { sayEffort } from '../../tools/effort.ts'
import { endpoint, generationPlan, prediction } from '../../tools/plans.ts'
import { memoryOf, type WeightsRequest } from '../../tools/weights-child.ts'

const MB = 1e6
const THREADS = 4
const LAYERS = 7
const WIDTH = 2_551
const skip = existsSync('/proc/self/smaps_rollup') ? false : 'only Linux tells'

const directory = mkdtempSync(join(tmpdir(), 'switchyard-weights-'))
t.teardown(() => {
  removeForm(join(directory, 'compiled', KEY))
  removeForm(directory)
})

const model = denseModel({ width: WIDTH, layers: LAYERS, seed: 1 })
writeFileSync(join(directory, 'model.onnx'), model)
const weights = { bytes: model.length, sha256: 'of the model' }
const shape = { shape: [null, 10], datatype: 'float32', name: 'x0', features: [] } as const
const plan = generationPlan([
  endpoint(prediction({ kind: 'RAW', model: 'model.onnx', inputs: [shape], weights })),
])
const SETTINGS: CompiledSettings = { folder: join(directory, 'compiled'), machine: 'this one' }
const KEY = compiledKey(SETTINGS.machine, weights.sha256)

/** Memory of `count` processes with so many threads each. */
async function measure(count: number, threads: number, forms: CompiledSettings | null) {
  const body = JSON.stringify(DENSE_ROW)
  const request: WeightsRequest = { directory, plan, threads, compiled: forms, body }
  const children: ChildProcess[] = []
  try {
    for (let i = 0; i < count; i++) {
      const child = fork(compiled('test/tools/weights-child.ts'), {
        serialization: 'advanced',
        execArgv: [...process.execArgv, ...GARBAGE_FLAGS],
        env: { ...process.env, ...ALLOCATOR },
      })
      children.push(child)
      child.send(request)
      await once(child, 'message')
    }
    const pids = children.flatMap(({ pid }) => pid ?? [])
    return {
      pss: sum(pids.map((pid) => memoryOf(pid, 'Pss'))),
      own: sum(pids.map((pid) => memoryOf(pid, 'Private_Dirty'))),
    }
  } finally {
    for (const child of children) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0)
}

t.test('weights are in memory once', { skip }, async (t) => {
  mkdirSync(SETTINGS.folder)
  const request = await compileRequest(SETTINGS.folder, { directory, model: 'model.onnx' })
  t.match(await compileModel({ ...request, key: KEY }, () => {}), { kind: 'compiled' })
  const added = async (forms: CompiledSettings | null): Promise<number> => {
    const [one, all] = [await measure(1, 1, forms), await measure(1, THREADS, forms)]
    return (all.own - one.own) / (THREADS - 1)
  }
  const [asIs, shared] = [await added(null), await added(SETTINGS)]
  const twoAsIs = await measure(2, THREADS / 2, null)
  const two = await measure(2, THREADS / 2, SETTINGS)
  const allowed = 1.1 * model.length + 2 * 60 * MB + THREADS * 25 * MB
  const mb = (bytes: number): number => Math.round(bytes / MB)
  sayEffort({
    modelMb: mb(model.length),
    addedWorkerMb: mb(shared),
    addedWorkerShare: Math.round((1_000 * shared) / model.length) / 1_000,
    addedWorkerAsIsMb: mb(asIs),
    pssTwoProcessesFourThreadsMb: mb(two.pss),
    allowedMb: mb(allowed),
  })
  t.ok(asIs - shared > 0.9 * model.length, 'a thread more does not have the weights again')
  t.ok(twoAsIs.pss - two.pss > 2 * model.length, 'and two processes have them once, not four times')
  t.ok(two.pss < allowed, 'as much as is allowed')
})
