/**
 * Scores mixed rows by an ONNX model. Explained row and background are converted once, by the rules
 * that every row passes; then a mixed row is made of converted cells, in buffers that all runs
 * share, with no object and no text in between.
 */

import { AppError, messageOf } from '../../core/base/errors.ts'
import type { PredictionPlan } from '../../core/bundle/plan.ts'
import { shown } from '../messages.ts'
import { Columns } from '../onnx/columns.ts'
import { type Feeds, type Model, Tensor } from '../onnx/session.ts'
import { AS_BEFORE, EXPLAINED, type MixedRows } from './mixed-rows.ts'
import type { Mixture, Scorer } from './types.ts'

type Values = Tensor['data']

/** Rows × width values of one input; an integer of 64 bits is two numbers, which need no BigInt. */
interface Cells {
  [at: number]: number | string
  copyWithin(to: number, from: number, end: number): unknown
}

/** Per input of the model. In front of the rows there is room for one: see mix(). */
export type HeldTensors = readonly Cells[]

/** Null where no number says what the model thinks: labels alone, or whole tensors. */
export function onnxScorer(
  model: Model,
  plan: PredictionPlan,
  rowsMax = plan.batchable ? plan.maxRows : 1,
): Scorer<HeldTensors> | null {
  const output = plan.kind === 'REGRESSION' ? plan.value : plan.probabilities
  if (output === null || plan.kind === 'RAW') return null
  const outputs = plan.classes.length > 2 ? plan.classes.length : 1
  const mixer = new Mixer(plan, rowsMax)
  const scores = new Float64Array(rowsMax * outputs)
  const single = new Columns(plan, 2)
  const fetches = [output]
  const shape = { outputs, classes: plan.classes.length }
  return {
    features: plan.features.map(({ name }) => name),
    rowsMax,
    outputs,
    hold: (rows) => {
      const columns = rows.length === 1 ? single : new Columns(plan, rows.length + 1)
      for (const [row, features] of rows.entries()) {
        const problem = columns.fill(features, row + 1)
        if (problem !== null) return { kind: 'refused', row, detail: problem.detail }
      }
      const feeds = columns.feeds(rows.length + 1)
      return plan.inputs.map(({ name }) => cellsOf(feeds[name]?.data.slice() ?? []))
    },
    score: async (mixture) => {
      try {
        const fetched = await model.run(mixer.feeds(mixture), fetches)
        return readScores(scores, fetched[output]?.data ?? [], {
          ...shape,
          rows: mixture.rows.count,
        })
      } catch (error) {
        if (error instanceof AppError) throw error
        throw new AppError('ERR_INFERENCE', shown(messageOf(error)))
      }
    },
  }
}

interface Shape {
  readonly rows: number
  readonly outputs: number
  readonly classes: number
}

/** All columns or, of two classes, the second; the model may answer it alone. */
function readScores(scores: Float64Array, values: Values, shape: Shape): Float64Array {
  const { rows, outputs, classes } = shape
  const size = rows * outputs
  const isPair = outputs === 1 && classes === 2 && values.length === 2 * rows
  const stride = isPair ? 2 : 1
  if (values.length !== stride * size) throw wrongShape(values.length, size)
  const first = stride - 1
  for (let i = 0; i < size; i++) scores[i] = Number(values[i * stride + first])
  return scores
}

function wrongShape(got: number, wanted: number): AppError {
  return new AppError('ERR_INFERENCE', `the model answered ${got} scores, expected ${wanted}`)
}

interface MixedInput {
  readonly name: string
  /** Of all rows; its data are mixed in place. */
  readonly tensor: Tensor
  readonly cells: Cells
  /** Cells per row, and of each cell of the tensor. */
  readonly width: number
  readonly lanes: number
  /** Per feature its column, or NONE. */
  readonly columns: Int32Array
}

const NONE = -1

class Mixer {
  readonly #inputs: readonly MixedInput[]
  readonly #full: Feeds
  readonly #rowsMax: number

  constructor(plan: PredictionPlan, rowsMax: number) {
    this.#rowsMax = rowsMax
    this.#full = new Columns(plan, rowsMax).feeds(rowsMax)
    this.#inputs = plan.inputs.map(({ name, datatype, features }) => {
      const tensor = this.#full[name] ?? new Tensor('bool', [])
      const lanes = datatype.endsWith('int64') ? 2 : 1
      const columns = new Int32Array(plan.features.length).fill(NONE)
      for (const [column, feature] of features.entries()) columns[feature] = column * lanes
      const width = features.length * lanes
      return { name, tensor, cells: cellsOf(tensor.data), width, lanes, columns }
    })
  }

  /** Valid until the next call. */
  feeds({ rows, explained, background }: Mixture<HeldTensors>): Feeds {
    for (const [i, input] of this.#inputs.entries()) {
      mix(input, rows, [explained[i] ?? [], background[i] ?? []])
    }
    if (rows.count === this.#rowsMax) return this.#full
    const feeds: Feeds = {}
    for (const { name, tensor } of this.#inputs) feeds[name] = firstRows(tensor, rows.count)
    return feeds
  }
}

/** The inner loop of all explanations. The explained row becomes the first of all sources. */
function mix(
  input: MixedInput,
  { count, starts, ends, features, sources }: MixedRows,
  [own, table]: readonly [Cells, Cells],
): void {
  const { cells, width, lanes, columns } = input
  for (let i = 0; i < width; i++) table[EXPLAINED * width + i] = own[width + i] ?? 0
  for (let row = 0, at = 0, change = 0; row < count; row++, at += width) {
    const start = starts[row] ?? EXPLAINED
    if (start !== AS_BEFORE) copySource(input, at, table, start)
    else if (width < WIDE) copyBefore(cells, at, width)
    else cells.copyWithin(at, at - width, at)
    for (const end = ends[row] ?? 0; change < end; change++) {
      const column = columns[features[change] ?? 0] ?? NONE
      if (column === NONE) continue
      const from = (sources[change] ?? EXPLAINED) * width + column
      for (let lane = 0; lane < lanes; lane++) cells[at + column + lane] = table[from + lane] ?? 0
    }
  }
}

/** From here on a call costs less than a loop. */
const WIDE = 32

function copyBefore(cells: Cells, at: number, width: number): void {
  for (let to = at; to < at + width; to++) cells[to] = cells[to - width] ?? 0
}

function copySource({ cells, width }: MixedInput, at: number, table: Cells, source: number): void {
  const first = source * width
  for (let i = 0; i < width; i++) cells[at + i] = table[first + i] ?? 0
}

function cellsOf(values: Values): Cells {
  if (!(values instanceof BigInt64Array) && !(values instanceof BigUint64Array)) return values
  return new Int32Array(values.buffer, values.byteOffset, 2 * values.length)
}

function firstRows({ type, data, dims: [rowsMax = 1, ...rest] }: Tensor, rows: number): Tensor {
  const size = (data.length / rowsMax) * rows
  const part = Array.isArray(data) ? data.slice(0, size) : data.subarray(0, size)
  return new Tensor(type, part, [rows, ...rest])
}
