/**
 * `npm run bench:explanations`: what an explanation costs beside its rows, on the demo forest, in
 * one thread. Its rows are recorded at the model and run again bare, from tensors that are ready:
 * in runs of the same sizes, and in batches of the size that predictions have; and as requests.
 *
 * Rounds are interleaved, and a ratio is the median of the ratios of each round. They are of CPU
 * time, which others on the machine disturb less than the clock; both are printed.
 */

import { join } from 'node:path'
import type { OnnxEndpointPlan, PredictionPlan } from '../core/bundle/plan.ts'
import { forestBundle } from '../test/tools/explained-endpoints.ts'
import { jobOf } from '../test/tools/plans.ts'
import { readBackground } from '../workers/explanations/background.ts'
import { Explainer } from '../workers/explanations/explainer.ts'
import type { HeldTensors } from '../workers/explanations/onnx-scorer.ts'
import { Predictor } from '../workers/onnx/predictor.ts'
import { type Feeds, type Model, openModel, Tensor } from '../workers/onnx/session.ts'
import type { BatchJob } from '../workers/protocol.ts'
import { median } from './latency.ts'

const ROUNDS = 40
/** A round of one kind has about so many rows, so that the clock and the CPU time tell. */
const ROWS_PER_ROUND = 12_000
const WARM_UP_ROWS = 400_000

const ASKED = [
  { method: 'SHAPLEY', nMonteCarloSteps: 25 },
  { method: 'SHAPLEY', nMonteCarloSteps: 100 },
  { method: 'SHAPLEY', nMonteCarloSteps: 1_000 },
  { method: 'ICE', nMonteCarloSteps: 100 },
] as const

const HEAD = ['', 'rows', 'runs', 'CPU ms', 'same runs', 'batches', 'requests']
const WIDTHS = [22, 8, 6, 10]

type Work = () => Promise<unknown>

interface Bench {
  readonly predictor: Predictor
  readonly model: Model
  readonly plan: PredictionPlan
  readonly rows: readonly Readonly<Record<string, number>>[]
  /** Runs of the model since it was set; null: nobody wants to know. */
  record: Feeds[] | null
}

const ends: (() => unknown)[] = []
try {
  const bench = await openBench()
  console.log(line(HEAD))
  for (const asked of ASKED) console.log(await measure(bench, asked))
} finally {
  for (const end of ends.reverse()) await end()
}

async function openBench(): Promise<Bench> {
  const { plan, directory, rows } = await forestBundle({ teardown: (end) => ends.push(end) })
  const [endpoint] = plan.endpoints as [OnnxEndpointPlan]
  const { prediction, explanations } = endpoint
  const model = await openModel(join(directory, prediction.model))
  const sample = await readBackground(directory, explanations?.background ?? '')
  const names = { serviceId: 'bench', generationId: 'v1' }
  const explainer = new Explainer<HeldTensors>(sample, { plan: endpoint, ...names })
  const run: Model['run'] = (feeds, outputs) => {
    bench.record?.push(copyOf(feeds))
    return model.run(feeds, outputs)
  }
  const predictor = new Predictor({ ...model, run }, endpoint, { ...names, explainer })
  const bench: Bench = { predictor, model, plan: prediction, rows, record: null }
  ends.push(() => predictor.release())
  const { maxRows } = prediction
  console.log(
    `batches of ${maxRows}, runs of explanations ${explanations?.run?.rowsMax ?? maxRows}`,
  )
  return bench
}

/** Explanations share the buffers of their runs. */
function copyOf(feeds: Feeds): Feeds {
  const copies = Object.entries(feeds).map(([name, { type, data, dims }]) => [
    name,
    new Tensor(type, data.slice(), dims),
  ])
  return Object.fromEntries(copies)
}

/** All slices of one request, without its way through a lane. */
async function explaining({ predictor, rows }: Bench, asked: object): Promise<Work> {
  const explanations = { enabled: true, ...asked }
  const job: BatchJob = jobOf([JSON.stringify({ features: rows[0], explanations })])
  const sentOn = await predictor.run(job)
  const [reroute] = sentOn.kind === 'answers' ? (sentOn.reroutes ?? []) : []
  if (reroute?.kind !== 'explain') throw new Error('the endpoint does not explain')
  return async () => {
    let outcome = await predictor.run({ ...job, verb: 'explain', state: reroute.state })
    while (outcome.kind === 'continues') {
      outcome = await predictor.run({ ...job, verb: 'explain', state: outcome.state })
    }
    if (outcome.kind !== 'answers' || outcome.failures !== null) {
      throw new Error(`not explained: ${JSON.stringify(outcome)}`)
    }
  }
}

async function measure(bench: Bench, asked: (typeof ASKED)[number]): Promise<string> {
  const explain = await explaining(bench, asked)
  bench.record = []
  await explain()
  const runs = bench.record
  bench.record = null
  const rows = runs.reduce((sum, feeds) => sum + rowsOf(feeds), 0)
  const batches = batchesOf(runs, bench.plan)
  for (let done = 0; done < WARM_UP_ROWS; done += rows) await explain()
  const times = Math.ceil(ROWS_PER_ROUND / rows)
  const kinds = [explain, bare(bench, runs), bare(bench, batches), requests(bench, rows)]
  const rounds: Spent[][] = []
  for (let round = 0; round < ROUNDS; round++) {
    const spent: Spent[] = []
    for (const work of kinds) spent.push(await spentOn(work, times))
    rounds.push(spent)
  }
  const against = (kind: number, by: keyof Spent) =>
    median(rounds.map((spent) => (spent[0]?.[by] ?? 0) / (spent[kind]?.[by] ?? 0))).toFixed(2)
  const cpuMs = median(rounds.map(([first]) => first?.cpu ?? 0)) / 1_000 / times
  const ratios = [1, 2, 3].map((kind) => `${against(kind, 'cpu')} (${against(kind, 'wall')})`)
  const { method, nMonteCarloSteps } = asked
  const name = method === 'ICE' ? method : `${method}, ${nMonteCarloSteps} steps`
  return line([name, String(rows), String(runs.length), cpuMs.toFixed(3), ...ratios])
}

function rowsOf(feeds: Feeds): number {
  return Object.values(feeds)[0]?.dims[0] ?? 0
}

/** The same rows in runs of as many as predictions share. */
function batchesOf(runs: readonly Feeds[], { inputs, maxRows }: PredictionPlan): Feeds[] {
  const rows = runs.reduce((sum, feeds) => sum + rowsOf(feeds), 0)
  const batches: Feeds[] = []
  for (let first = 0; first < rows; first += maxRows) {
    const feeds: Feeds = {}
    for (const { name } of inputs) {
      const data = runs.flatMap((run) => [...numbersOf(run[name])])
      const width = data.length / rows
      const count = Math.min(maxRows, rows - first)
      const part = Float32Array.from(data.slice(first * width, (first + count) * width))
      feeds[name] = new Tensor('float32', part, [count, width])
    }
    batches.push(feeds)
  }
  return batches
}

function numbersOf(tensor: Tensor | undefined): Float32Array {
  if (tensor?.data instanceof Float32Array) return tensor.data
  throw new Error('the model of the bench takes float32')
}

function bare({ model, plan }: Bench, runs: readonly Feeds[]): Work {
  const fetches = [plan.probabilities ?? '']
  return async () => {
    for (const feeds of runs) await model.run(feeds, fetches)
  }
}

/** As many rows, each of them a request, in full batches. */
function requests({ predictor, plan, rows }: Bench, count: number): Work {
  const { maxRows } = plan
  const bodies = Array.from({ length: maxRows }, (_, i) =>
    JSON.stringify({ features: rows[i % rows.length] }),
  )
  return async () => {
    for (let done = 0; done < count; done += maxRows) {
      await predictor.run(jobOf(bodies.slice(0, count - done)))
    }
  }
}

interface Spent {
  /** Microseconds. */
  readonly cpu: number
  readonly wall: number
}

async function spentOn(work: Work, times: number): Promise<Spent> {
  const before = process.cpuUsage()
  const startMs = performance.now()
  for (let i = 0; i < times; i++) await work()
  const wall = (performance.now() - startMs) * 1_000
  const { user, system } = process.cpuUsage(before)
  return { cpu: user + system, wall }
}

function line(cells: readonly string[]): string {
  return cells
    .map((cell, i) => (i === 0 ? cell.padEnd(22) : cell.padStart(WIDTHS[i] ?? 16)))
    .join('')
}
