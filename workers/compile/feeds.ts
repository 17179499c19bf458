/**
 * Inputs made up for a proof: random values in batches of several sizes. Most are nonsense to the
 * model, but its arithmetic does not know that. The seed is fixed, so that a model which was
 * compiled once is judged the same way every time.
 */

import { nowMs } from '../../core/base/clock.ts'
import type { Datatype, OnnxEndpointPlan, TensorSpec } from '../../core/bundle/plan.ts'
import { randomOf } from '../explanations/chance.ts'
import { candidateRows, RowRunner } from '../forge/rows.ts'
import { NUMBER_ARRAYS } from '../onnx/columns.ts'
import { type Feeds, type Model, Tensor } from '../onnx/session.ts'

/** Odd ones, for kernels take rows four, eight or sixteen at a time and treat the rest apart. */
const BATCHES = [1, 2, 3, 7, 16, 33]
/** Of dimensions that are free and no batch; a convolution cannot do with an image of one pixel. */
const FREE_SIZES = [1, 5, 8, 32, 224]
/** A few sizes that a model takes are enough. */
const SIZES_MAX = 2
const VALUES_MAX = 4_000_000
/** A model that takes longer than this is proven with what was run until then. */
const TIME_MS = 15_000

/** Runs what can be made up; what the model refuses is nobody's fault. */
export async function runMadeUp(
  model: Model,
  endpoints: readonly OnnxEndpointPlan[],
): Promise<void> {
  const endMs = nowMs() + TIME_MS
  for (const { prediction } of endpoints) {
    if (prediction.kind === 'RAW') continue
    const runner = new RowRunner(model, prediction, Math.max(...BATCHES))
    const rows = candidateRows(prediction.features, [])
    for (const count of BATCHES) {
      if (nowMs() > endMs) return
      await attempt(() => runner.run([...take(rows, count)]))
    }
  }
  const random = randomOf(0x5eed)
  let sizes = 0
  for (const size of FREE_SIZES) {
    let answered = 0
    for (const batch of BATCHES) {
      if (nowMs() > endMs) return
      const feeds = feedsOf(model.inputs, { batch, size }, random)
      if (feeds !== null && (await attempt(() => model.run(feeds)))) answered += 1
    }
    if (answered > 0) sizes += 1
    if (sizes >= SIZES_MAX || !model.inputs.some(hasFree)) return
  }
}

/** Without ending the generator, as a loop over it would. */
function* take<T>(items: Iterator<T>, count: number): Generator<T> {
  for (let i = 0; i < count; i++) {
    const next = items.next()
    if (next.done === true) return
    yield next.value
  }
}

async function attempt(run: () => Promise<unknown>): Promise<boolean> {
  try {
    await run()
    return true
  } catch {
    return false
  }
}

function hasFree({ shape }: TensorSpec): boolean {
  return shape.slice(1).includes(null)
}

interface Sizes {
  readonly batch: number
  readonly size: number
}

/** Null: they would be too large. */
function feedsOf(
  inputs: readonly TensorSpec[],
  { batch, size }: Sizes,
  random: () => number,
): Feeds | null {
  const feeds: Feeds = {}
  let values = 0
  for (const { name, datatype, shape } of inputs) {
    const dims = shape.map((length, i) => length ?? (i === 0 ? batch : size))
    const count = dims.reduce((product, length) => product * length, 1)
    values += count
    if (values > VALUES_MAX) return null
    feeds[name] = tensorOf(datatype, dims, { count, random })
  }
  return feeds
}

interface Values {
  readonly count: number
  readonly random: () => number
}

function tensorOf(datatype: Datatype, dims: readonly number[], { count, random }: Values): Tensor {
  // Small whole numbers, because many are indexes and lengths.
  const whole = (): number => Math.floor(random() * 5)
  if (datatype === 'string') {
    return new Tensor(
      datatype,
      Array.from({ length: count }, () => String(whole())),
      dims,
    )
  }
  if (datatype === 'int64' || datatype === 'uint64') {
    const ArrayType = datatype === 'int64' ? BigInt64Array : BigUint64Array
    return new Tensor(
      datatype,
      new ArrayType(count).map(() => BigInt(whole())),
      dims,
    )
  }
  const ArrayType = NUMBER_ARRAYS[datatype]
  const data = new ArrayType(count)
  for (let i = 0; i < count; i++) data[i] = chosen(datatype, random, whole)
  return new Tensor(datatype, data, dims)
}

function chosen(datatype: Datatype, random: () => number, whole: () => number): number {
  if (datatype.startsWith('float')) return (random() * 2 - 1) * 4
  if (datatype === 'bool') return random() < 0.5 ? 1 : 0
  // Bytes are mostly quantized values, of the whole range.
  return datatype.endsWith('int8') ? Math.floor(random() * 256) : whole()
}
