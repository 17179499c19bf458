/**
 * Goal: an explanation costs what its rows cost, and the thread is given back in time.
 * Method: runs of the demo forest (wine) are counted at the model. What is asserted is no time:
 * that no run has more rows than the forge has found good, that nearly all are full, and that it
 * finds larger runs only where nothing speaks against them. How long it takes is told by the bench
 * (bench/explanations.ts).
 */

import { join } from 'node:path'
import t from 'tap'
import { AppError } from '../../../core/base/errors.ts'
import type { OnnxEndpointPlan } from '../../../core/bundle/plan.ts'
import { LIMITS } from '../../../core/config/limits.ts'
import { readBackground } from '../../../workers/explanations/background.ts'
import { Explainer } from '../../../workers/explanations/explainer.ts'
import type { HeldTensors } from '../../../workers/explanations/onnx-scorer.ts'
import type { Scorer } from '../../../workers/explanations/types.ts'
import { largerRuns } from '../../../workers/forge/explanation-runs.ts'
import { Predictor } from '../../../workers/onnx/predictor.ts'
import { type Model, openModel } from '../../../workers/onnx/session.ts'
import type { FeatureMap } from '../../../workers/predictions/values.ts'
import { askExplained, forestBundle, forgeBundle } from '../../tools/explained-endpoints.ts'
import { classifier } from '../../tools/onnx-models.ts'

t.setTimeout(240_000)

const GENERATION = { serviceId: 'svc', generationId: 'g1' }

interface Counted {
  readonly model: Model
  readonly sizes: number[]
}

function counted(model: Model): Counted {
  const sizes: number[] = []
  const run: Model['run'] = (feeds, outputs) => {
    sizes.push(Object.values(feeds)[0]?.dims[0] ?? 0)
    return model.run(feeds, outputs)
  }
  return { model: { ...model, run }, sizes }
}

t.test('runs are as large as they may be', async (t) => {
  const { plan, directory, rows } = await forestBundle(t)
  const [endpoint] = plan.endpoints as [OnnxEndpointPlan]
  const { prediction, explanations } = endpoint
  const { maxRows } = prediction
  t.equal(maxRows, LIMITS.batchRowsMax)
  const sample = await readBackground(directory, explanations?.background ?? '')
  const openedModel = await openModel(join(directory, prediction.model))
  t.teardown(() => openedModel.release())
  for (const rowsMax of [maxRows, 100, 256]) {
    const { model, sizes } = counted(openedModel)
    const larger = { ...endpoint, explanations: { ...explanations, run: { rowsMax, ms: 0.001 } } }
    const explained = larger as OnnxEndpointPlan
    const explainer = new Explainer<HeldTensors>(sample, { plan: explained, ...GENERATION })
    const predictor = new Predictor(model, explained, { ...GENERATION, explainer })
    const body = { features: rows[0], explanations: { enabled: true, nMonteCarloSteps: 1_000 } }
    await askExplained(predictor, body)
    sizes.length = 0
    await askExplained(predictor, body)
    t.ok(Math.max(...sizes) <= rowsMax, 'no run is larger')
    const full = sizes.filter((size) => size === rowsMax).length
    t.ok(full >= 0.6 * sizes.length, `${full} of ${sizes.length} runs have ${rowsMax} rows`)
  }
})

/** Scores a row by its own cell, but for what `score` makes of the whole run. */
function scorerOf(score: (cells: Float64Array) => void) {
  return (rowsMax: number): Scorer<readonly FeatureMap[]> => ({
    features: ['x'],
    rowsMax,
    outputs: 1,
    hold: (rows) => [...rows],
    score: async ({ rows, background }) => {
      const sources = rows.starts.subarray(0, rows.count)
      const cells = Float64Array.from(sources, (from) => Number(background[from - 1]?.['x']))
      score(cells)
      return cells
    },
  })
}

t.test('larger runs are for models that score them like small ones', async (t) => {
  const values = [3, -1, 4, 1e-9, 5, 92]
  const rows = values.map((x) => [x])
  const scored = { features: ['x'], rows, scores: rows }
  const sizes = { from: 64, to: 256 }
  const found = async (score: (cells: Float64Array) => void) =>
    (await largerRuns(scored, scorerOf(score), sizes))?.rowsMax
  t.equal(await found(() => {}), 256)
  t.equal(await found((cells) => cells.set(cells.map((x) => x * 1.000001))), 256)
  const off = (cells: Float64Array) => {
    if (cells.length > 128) cells[200] = 3.1
  }
  t.equal(await found(off), 128, 'one row is scored otherwise')
  t.equal(await found((cells) => cells.fill(Number.NaN, 5, 6)), undefined)
  const refuse = (cells: Float64Array) => {
    if (cells.length > 128) throw new AppError('ERR_INFERENCE', 'too many rows')
  }
  t.equal(await found(refuse), 128)
  const slow = (cells: Float64Array) => {
    const endMs = performance.now() + cells.length / 16
    while (performance.now() < endMs);
  }
  t.equal(await found(slow), undefined, 'a run of 8 ms is too long beside a slice of 20')
  await t.rejects(
    found(() => {
      throw new TypeError('a fault of ours')
    }),
    TypeError,
  )
})

t.test('who names the size of batches gets no larger runs', async (t) => {
  const features = ['a', 'b'].map((name) => ({ name, type: 'number' }))
  const explanations = { background: 'rows.csv' }
  const model = { type: 'STD_PREDICTION', model: 'm.onnx', features, explanations }
  const runOf = async (endpoint: object) => {
    const files = { 'm.onnx': classifier(2, 2), 'rows.csv': 'a,b\n1,2\n3,4\n' }
    const { plan } = await forgeBundle(t, [{ ...model, id: 'e', ...endpoint }], files)
    return plan.endpoints[0]?.explanations?.run?.rowsMax
  }
  t.equal(await runOf({}), LIMITS.explanationRowsMax)
  t.equal(await runOf({ maxRows: 64 }), undefined)
  t.equal(await runOf({ batch: false }), undefined)
})

t.test('a slice ends before the run that would not fit', async (t) => {
  const { open, rows } = await forestBundle(t)
  const runtime = await open()
  const explanations = { enabled: true, nMonteCarloSteps: 1_000, nExplanations: 13 }
  const items = rows.map((features) => ({ features }))
  const tookUs: number[] = []
  const timed = {
    run: async (job: Parameters<typeof runtime.run>[0]) => {
      const outcome = await runtime.run(job)
      if (outcome.kind === 'continues') tookUs.push(outcome.executeUs)
      return outcome
    },
  }
  const { answer } = await askExplained(timed, { items, explanations }, { verb: 'multi' })
  t.equal(answer?.['results'].length, rows.length)
  t.ok(tookUs.length > 1, `${tookUs.length} slices were not the last`)
  const middle = tookUs.toSorted((a, b) => a - b)[Math.floor(tookUs.length / 2)] ?? 0
  t.comment(`median of slices ${middle} us, longest ${Math.max(...tookUs)} us`)
  // A slice is as long as the clock says and at most one run longer; the rest is for busy machines.
  t.ok(middle < 5_000 * LIMITS.explanationSliceMs, `${middle} us`)
})
