/**
 * Goal: the estimate of a generation counts what each thread has for itself, and what threads and
 * processes have in common once. Method: the pure function, with plans made up.
 */

import t from 'tap'
import { memoryOf } from '../../../admin/operations/memory.ts'
import type { ForgeReport } from '../../../core/bundle/plan.ts'
import { endpoint, generationPlan, summing } from '../../tools/plans.ts'

const MIB = 1024 * 1024
const MODEL_BYTES = 100 * MIB

function generation(ids: readonly string[], threads: number) {
  const endpoints = ids.map((id) => endpoint(summing('m.onnx', 1), { id }))
  const reports = ids.map((endpointId) => ({ endpointId, modelBytes: MODEL_BYTES }))
  const report = { endpoints: reports } as unknown as ForgeReport
  return { plan: generationPlan(endpoints, { threads }), report }
}

const units = { threads: 1, children: null, processes: 2 }
const inMib = (bytes: number) => Math.round(bytes / MIB)

t.test('a model as it is costs each thread all of it', async (t) => {
  const { bytes, shared } = memoryOf(generation(['a'], 3), units, () => null)
  t.equal(inMib(bytes), 3 * (10 + 110))
  t.same(shared, [])
})

t.test('a compiled one is there once for the node, whoever has it', async (t) => {
  const { bytes, shared } = memoryOf(generation(['a'], 3), units, () => 'form')
  t.equal(inMib(bytes), 3 * (10 + 5))
  t.same(shared, [{ key: 'form', bytes: Math.round((1.1 * MODEL_BYTES) / 2) }], 'of two processes')
  const twice = memoryOf(generation(['a', 'b'], 1), units, () => 'form')
  t.equal(inMib(twice.bytes), 10 + 2 * 5)
  t.equal(twice.shared.length, 1)
  const two = memoryOf(generation(['a', 'b'], 1), units, ({ id }) => (id === 'a' ? 'form' : null))
  t.equal(inMib(two.bytes), 10 + 5 + 110)
})
