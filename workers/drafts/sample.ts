/**
 * What a sample says about a prediction: the quantiles of its probability, scored by the runtime
 * that will serve it, and the rows that explanations compare with.
 */

import { mkdir, writeFile } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { isObject } from '../../core/base/json.ts'
import { isJson } from '../../core/bundle/file-names.ts'
import type { CustomPredictionPlan, EndpointPlan, PredictionPlan } from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { randomOf, shuffle } from '../explanations/chance.ts'
import { type Tried, tryBodies } from '../forge/queries.ts'
import { openRuntime } from '../open-runtime.ts'
import type { DraftSample, DraftSampleRequest, SampleDraft } from '../protocol.ts'
import type { Runtime } from '../runtime.ts'
import { readMaps, readTable } from './columns.ts'
import type { Say } from './draft.ts'
import { noColumn } from './feature-names.ts'
import { quantiles } from './quantiles.ts'
import { DraftRefused } from './refused.ts'

/** Of more rows a random part is scored. */
const ROWS_MAX = 100_000
const SEED = 0x5eed
const TOGETHER = 64
/** Of more rows only the number is told. */
const REASONS_MAX = 20

type Cell = string | number | boolean | null

interface Row {
  readonly place: string
  /** In the order of the features. */
  readonly cells: readonly Cell[]
}

interface Read {
  readonly features: readonly string[]
  readonly rows: readonly Row[]
  readonly unused: readonly string[]
}

export async function draftSample(request: DraftSampleRequest, say: Say): Promise<SampleDraft> {
  const { endpoint, sample, background } = request
  const prediction = predictionOf(endpoint)
  if (prediction === null || prediction.kind === 'RAW') {
    throw new DraftRefused(`endpoint ${endpoint.id} predicts no rows, so a sample says nothing`)
  }
  const read = await readRows(sample, prediction.features?.map(({ name }) => name) ?? null, say)
  const { features, rows, unused } = read
  if (rows.length === 0) throw new DraftRefused(`${basename(sample.file)} has no rows`)
  const scored =
    prediction.kind === 'BINARY_CLASSIFICATION' ? await score(request, read, say) : null
  const kept = backgroundOf(rows, features.length)
  await mkdir(dirname(background), { recursive: true })
  await writeFile(background, fileText(background, features, kept))
  return {
    kind: 'sample',
    rows: rows.length,
    ignored: scored?.ignored ?? 0,
    percentiles: scored === null ? null : quantiles(scored.scores),
    backgroundRows: kept.length,
    unused,
  }
}

type Prediction = PredictionPlan | CustomPredictionPlan

function predictionOf(plan: EndpointPlan): Prediction | null {
  if (plan.type === 'STD_PREDICTION') return plan.prediction
  if (plan.type === 'CUSTOM_PREDICTION') return plan.python.prediction
  return plan.type === 'CUSTOM_R_PREDICTION' ? plan.r.prediction : null
}

async function readRows(
  sample: DraftSample,
  declared: readonly string[] | null,
  say: Say,
): Promise<Read> {
  const { file, target } = sample
  const name = basename(file)
  const kept = new Reservoir()
  if (isJson(file)) {
    const maps = await readMaps(file)
    const keys = [...new Set(maps.flatMap((map) => Object.keys(map)))]
    const features = featuresAmong(keys, declared ?? keys, sample)
    for (const [i, map] of maps.entries()) {
      const cells = (): Cell[] => features.map((key) => map[key] ?? null)
      kept.offer(() => ({ place: `${name}[${i}]`, cells: cells() }))
    }
    return { features, rows: kept.rows(), unused: keys.filter((key) => !features.includes(key)) }
  }
  if (declared === null) {
    const cure = 'declare features in service.json, or give the sample as a JSON array'
    throw new DraftRefused(`${name}: of a CSV file nobody knows the types; ${cure}`)
  }
  let header: readonly string[] = []
  let at: readonly number[] = []
  const onHeader = (names: readonly string[]): void => {
    header = names
    at = featuresAmong(names, declared, { file, target }).map((one) => names.indexOf(one))
  }
  for await (const { cells, place, share } of readTable(file, onHeader)) {
    kept.offer(() => ({ place: `${name} ${place()}`, cells: at.map((i) => cells[i] ?? null) }))
    say(`reading ${name}`, share)
  }
  const unused = header.filter((one) => !declared.includes(one))
  return { features: declared, rows: kept.rows(), unused }
}

/** The features of the model, all of which must be there; the target is none of them. */
function featuresAmong(
  names: readonly string[],
  wanted: readonly string[],
  { file, target }: DraftSample,
): readonly string[] {
  if (target !== null && !names.includes(target)) {
    throw new DraftRefused(`--target ${JSON.stringify(target)}: ${noColumn(file, target, names)}`)
  }
  const features = wanted === names ? names.filter((name) => name !== target) : wanted
  if (target !== null && features.includes(target)) {
    throw new DraftRefused(`--target ${JSON.stringify(target)}: it is a feature of the model`)
  }
  const reasons = features
    .filter((name) => !names.includes(name))
    .map((name) => noColumn(file, name, names))
  if (reasons.length > 0) throw new DraftRefused(...reasons.slice(0, REASONS_MAX))
  return features
}

/** Every row is as likely to be kept, however many there are. */
class Reservoir {
  readonly #rows: { readonly index: number; readonly row: Row }[] = []
  readonly #random = randomOf(SEED)
  #seen = 0

  offer(make: () => Row): void {
    const index = this.#seen
    this.#seen += 1
    const at = index < ROWS_MAX ? index : Math.floor(this.#random() * this.#seen)
    if (at < ROWS_MAX) this.#rows[at] = { index, row: make() }
  }

  rows(): Row[] {
    return this.#rows.toSorted((a, b) => a.index - b.index).map(({ row }) => row)
  }
}

interface Scored {
  readonly scores: readonly number[]
  readonly ignored: number
}

async function score(
  { endpoint, directory, settings }: DraftSampleRequest,
  { features, rows }: Read,
  say: Say,
): Promise<Scored> {
  const second = predictionOf(endpoint)?.classes[1]
  if (second === undefined) {
    throw new DraftRefused('classes is required: percentiles are of the second of two')
  }
  const needsChildren = 'python' in endpoint || 'r' in endpoint
  const { localHost } = await import('../children/local-host.ts')
  const children = needsChildren ? await localHost(settings, () => {}) : null
  const place = { serviceId: 'sample', generationId: 'sample', directory, tables: [], settings }
  const context = { ...place, children, spares: 0, report: () => {}, log: () => {} }
  try {
    const runtime = await openRuntime(bare(endpoint), context)
    try {
      return await scoreAll(runtime, { features, rows, second, say })
    } finally {
      await runtime.release()
    }
  } finally {
    await children?.close()
  }
}

/**
 * The model's own answer to its features: without look-ups, whose features are in the sample, and
 * without rules that change what it says.
 */
function bare({ explanations: _, ...plan }: EndpointPlan): EndpointPlan {
  const common = { timeoutMs: LIMITS.hangMs }
  if (plan.type === 'STD_PREDICTION') {
    const { enrich: _enrich, ...rest } = plan
    return { ...rest, ...common, prediction: { ...plain(plan.prediction) } }
  }
  if (plan.type === 'CUSTOM_PREDICTION') {
    const { enrich: _enrich, ...rest } = plan
    const { prediction } = plan.python
    const python = { ...plan.python, prediction: prediction === null ? null : plain(prediction) }
    return { ...rest, ...common, python: { ...python, children: 1 } }
  }
  if (plan.type !== 'CUSTOM_R_PREDICTION') return plan
  const { enrich: _enrich, ...rest } = plan
  const { prediction } = plan.r
  const r = { ...plan.r, prediction: prediction === null ? null : plain(prediction) }
  return { ...rest, ...common, r: { ...r, children: 1 } }
}

function plain<T extends Prediction>({ overrides: _, percentiles: _percentiles, ...rest }: T) {
  return rest
}

interface Scoring extends Pick<Read, 'features' | 'rows'> {
  readonly second: string
  readonly say: Say
}

async function scoreAll(runtime: Runtime, scoring: Scoring): Promise<Scored> {
  const { features, rows, second, say } = scoring
  const scores: number[] = []
  const reasons: string[] = []
  let [ignored, failures] = [0, 0]
  for (let start = 0; start < rows.length; start += TOGETHER) {
    const some = rows.slice(start, start + TOGETHER)
    const tried = await tryBodies(
      runtime,
      some.map((row) => bodyOf(row, features)),
    )
    for (const [i, one] of tried.entries()) {
      const outcome = scoreOf(one, second)
      if (typeof outcome === 'number') scores.push(outcome)
      else if (outcome === null) ignored += 1
      else {
        failures += 1
        if (reasons.length < REASONS_MAX) reasons.push(`${some[i]?.place}: ${outcome}`)
      }
    }
    say('scoring the sample', (start + some.length) / rows.length)
  }
  if (failures === 0) return { scores, ignored }
  const more = failures - reasons.length
  throw new DraftRefused(...reasons, ...(more > 0 ? [`${more} more rows cannot be scored`] : []))
}

function bodyOf({ cells }: Row, names: readonly string[]): string {
  const pairs = names.map((name, i) => [name, cells[i] ?? null] as const)
  return JSON.stringify({ features: Object.fromEntries(pairs) })
}

/** Null: a row that is left out; a text: why there is no score. */
function scoreOf(tried: Tried, second: string): number | string | null {
  if (tried.kind === 'failed') return tried.detail
  const { result } = tried
  if (!isObject(result)) return 'the answer is no prediction'
  if (result['ignored'] === true) return null
  const probas = result['probas']
  const score = isObject(probas) ? probas[second] : undefined
  if (typeof score === 'number') return score
  return 'the model answers no probabilities, which percentiles are of'
}

/** A random part, the same each time, in the order of the file. */
function backgroundOf(rows: readonly Row[], features: number): Row[] {
  const fitting = Math.floor(LIMITS.backgroundCellsMax / Math.max(1, features))
  const wanted = Math.max(1, Math.min(LIMITS.backgroundRowsMax, fitting))
  const order = new Uint32Array(rows.length)
  shuffle(order, SEED, 0)
  const kept = [...order.subarray(0, wanted)].sort((a, b) => a - b)
  return kept.flatMap((index) => rows[index] ?? [])
}

function fileText(file: string, features: readonly string[], rows: readonly Row[]): string {
  if (isJson(file)) {
    const maps = rows.map(({ cells }) =>
      JSON.stringify(Object.fromEntries(features.map((name, i) => [name, cells[i] ?? null]))),
    )
    return `[\n${maps.join(',\n')}\n]\n`
  }
  const lines = [features, ...rows.map(({ cells }) => cells)]
  return lines.map((cells) => `${cells.map(csvCell).join(',')}\n`).join('')
}

function csvCell(cell: Cell): string {
  const text = cell === null ? '' : String(cell)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
