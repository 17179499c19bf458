/**
 * Rows to try a model with: those of the test queries, then plain ones, then random ones of a fixed
 * seed, so that a bundle that was accepted once is judged the same way every time.
 */

import { nowMs } from '../../core/base/clock.ts'
import { messageOf } from '../../core/base/errors.ts'
import { isObject } from '../../core/base/json.ts'
import type { StdPredictionEndpoint } from '../../core/bundle/endpoint-schemas.ts'
import type { FeaturePlan, PredictionPlan } from '../../core/bundle/plan.ts'
import { Columns } from '../onnx/columns.ts'
import type { Fetched, Model } from '../onnx/session.ts'
import type { FeatureMap } from '../predictions/values.ts'

/** A row that the model took, and what it answered to this row alone. */
export interface TriedRow {
  readonly row: FeatureMap
  readonly outputs: Fetched
}

export interface TriedRows {
  readonly accepted: readonly TriedRow[]
  /** What the runtime said to the last row that it refused; null: it refused none. */
  readonly refusal: string | null
}

class RowRefused extends Error {}

/** Runs rows together, through the same conversion of features that serving uses. */
export class RowRunner {
  readonly #model: Model
  readonly #columns: Columns

  constructor(model: Model, plan: PredictionPlan, rowsMax: number) {
    this.#model = model
    this.#columns = new Columns(plan, rowsMax)
  }

  run(rows: readonly FeatureMap[]): Promise<Fetched> {
    for (const [i, row] of rows.entries()) {
      const problem = this.#columns.fill(row, i)
      if (problem !== null) throw new RowRefused(problem.detail)
    }
    return this.#model.run(this.#columns.feeds(rows.length))
  }
}

const TRIES_MAX = 64
/** Of a few truth values and categories there are only so many rows. */
const REPEATED_MAX = 1_000
/** A model that takes longer for a few rows gains nothing from a proof that takes minutes. */
const TRIES_MS = 2_000

/** Looks for `wanted` different rows that the model takes, each run alone. */
export async function tryRows(
  runner: RowRunner,
  candidates: Iterable<FeatureMap>,
  wanted: number,
): Promise<TriedRows> {
  const accepted: TriedRow[] = []
  const seen = new Set<string>()
  const endMs = nowMs() + TRIES_MS
  let refusal: string | null = null
  let [tries, repeated] = [0, 0]
  for (const row of candidates) {
    const key = JSON.stringify(row)
    if (seen.has(key)) {
      repeated += 1
      if (repeated >= REPEATED_MAX) break
      continue
    }
    seen.add(key)
    try {
      accepted.push({ row, outputs: await runner.run([row]) })
    } catch (error) {
      refusal = messageOf(error)
    }
    tries += 1
    if (accepted.length >= wanted || tries >= TRIES_MAX || nowMs() > endMs) break
  }
  return { accepted, refusal }
}

/** The `features` of the test queries, as far as they are objects. */
export function givenRows(endpoint: StdPredictionEndpoint): FeatureMap[] {
  return (endpoint.testQueries ?? []).map(({ q }) => q['features']).filter(isObject)
}

/** Without end: whoever asks says how many rows it wants. */
export function* candidateRows(
  features: readonly FeaturePlan[],
  given: readonly FeatureMap[],
): Generator<FeatureMap> {
  yield* given
  yield plainRow(features, '')
  yield plainRow(features, '0')
  const random = randomOf(0x5eed)
  const pools = features.map((feature) => poolOf(feature, given))
  for (let scale = 1; ; scale = scale >= 100 ? 1 : scale * 10) {
    yield rowOf(features, (feature, i) => randomValue(feature, pools[i] ?? [], { random, scale }))
  }
}

/** Zeros, false and the first category: what most models take without complaint. */
function plainRow(features: readonly FeaturePlan[], text: string): FeatureMap {
  return rowOf(features, (feature) => {
    if (feature.type === 'boolean') return false
    if (feature.type !== 'string') return 0
    return feature.categories?.[0] ?? feature.value ?? text
  })
}

function rowOf(
  features: readonly FeaturePlan[],
  pick: (feature: FeaturePlan, i: number) => unknown,
): FeatureMap {
  return Object.fromEntries(features.map((feature, i) => [feature.name, pick(feature, i)]))
}

/** Test queries that lend their values to made-up rows; more would not make these better. */
const POOL_ROWS = 32

/** Values of a feature that are known to mean something. */
function poolOf(feature: FeaturePlan, given: readonly FeatureMap[]): unknown[] {
  const some = given.slice(0, POOL_ROWS)
  const seen = some.map((row) => row[feature.name]).filter((value) => isScalar(value))
  const fixed = feature.value === null ? [] : [feature.value]
  return [...seen, ...(feature.categories ?? []), ...fixed]
}

function isScalar(value: unknown): boolean {
  return typeof value === 'number' || typeof value === 'string' || typeof value === 'boolean'
}

interface Chance {
  readonly random: () => number
  readonly scale: number
}

function randomValue(feature: FeaturePlan, pool: readonly unknown[], chance: Chance): unknown {
  const { random, scale } = chance
  const known = pool[Math.floor(random() * pool.length)]
  switch (feature.type) {
    case 'boolean':
      return random() < 0.5
    case 'string':
      return known ?? Math.floor(random() * 36 ** 4).toString(36)
    case 'integer':
      return known ?? Math.floor(random() * 10)
    default:
      // Zero times whatever stays zero.
      if (typeof known === 'number' && known !== 0) return known * (0.5 + random())
      return (random() * 2 - 1) * scale
  }
}

/** The same row with numbers far away: a neighbour that shifts every mean, sum and maximum. */
export function extremeRow(features: readonly FeaturePlan[], row: FeatureMap): FeatureMap {
  return rowOf(features, ({ name, type }) => {
    const value = row[name]
    return type === 'number' && typeof value === 'number' ? -1_000 * (value + 1) : value
  })
}

/** mulberry32: 32 bits of state, enough to spread rows, the same on every machine. */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
