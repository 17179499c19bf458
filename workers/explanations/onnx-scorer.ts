/**
 * Scores mixed rows by an ONNX model. Explained row and background are converted once, by the rules
 * that every row passes; then a mixed row is made of converted cells, with no object and no text
 * in between.
 */

import { AppError, messageOf } from '../../core/base/errors.ts'
import type { Datatype, InputPlan, PredictionPlan } from '../../core/bundle/plan.ts'
import { shown } from '../messages.ts'
import { Columns, NUMBER_ARRAYS } from '../onnx/columns.ts'
import { type Feeds, type Model, Tensor } from '../onnx/session.ts'
import type { Mixture, Scorer } from './types.ts'

type Values = Tensor['data']

/** Per input of the model its values, rows × width. */
export type HeldTensors = readonly Values[]

/** Null where no number says what the model thinks: labels alone, or whole tensors. */
export function onnxScorer(model: Model, plan: PredictionPlan): Scorer<HeldTensors> | null {
  const output = plan.kind === 'REGRESSION' ? plan.value : plan.probabilities
  if (output === null || plan.kind === 'RAW') return null
  const rowsMax = plan.batchable ? plan.maxRows : 1
  const outputs = plan.classes.length > 2 ? plan.classes.length : 1
  const inputs = plan.inputs.map((input) => mixedInput(input, plan.features.length))
  return {
    features: plan.features.map(({ name }) => name),
    rowsMax,
    outputs,
    hold: (rows) => {
      const columns = new Columns(plan, rows.length)
      for (const [row, features] of rows.entries()) {
        const problem = columns.fill(features, row)
        if (problem !== null) return { kind: 'refused', row, detail: problem.detail }
      }
      const feeds = columns.feeds(rows.length)
      return plan.inputs.map(({ name }) => feeds[name]?.data ?? [])
    },
    score: async (mixture) => {
      const feeds: Feeds = {}
      for (const [i, input] of inputs.entries()) feeds[input.name] = input.mix(mixture, i)
      try {
        const fetched = await model.run(feeds, [output])
        const values = fetched[output]?.data ?? []
        return scoresOf(values, mixture.rows, { outputs, classes: plan.classes.length })
      } catch (error) {
        if (error instanceof AppError) throw error
        throw new AppError('ERR_INFERENCE', shown(messageOf(error)))
      }
    },
  }
}

interface Shape {
  readonly outputs: number
  readonly classes: number
}

/** All columns or, of two classes, the second; the model may answer it alone. */
function scoresOf(values: Values, rows: number, { outputs, classes }: Shape): Float64Array {
  const scores = new Float64Array(rows * outputs)
  const isPair = outputs === 1 && classes === 2 && values.length === 2 * rows
  const stride = isPair ? 2 : 1
  if (values.length !== stride * scores.length) throw wrongShape(values.length, scores.length)
  const first = stride - 1
  for (let i = 0; i < scores.length; i++) scores[i] = Number(values[i * stride + first])
  return scores
}

function wrongShape(got: number, wanted: number): AppError {
  return new AppError('ERR_INFERENCE', `the model answered ${got} scores, expected ${wanted}`)
}

/** One input of the model and how its values are mixed, whatever their element type. */
function mixedInput(plan: InputPlan, features: number) {
  const { name, datatype, shape, features: columns } = plan
  const width = columns.length
  const values = mixerOf(datatype)
  const mix = ({ rows, from, explained, background }: Mixture<HeldTensors>, at: number): Tensor => {
    const cells: Cells = { size: rows * width, from, features, columns }
    const data = values(cells, explained[at] ?? [], background[at] ?? [])
    return new Tensor(datatype, data, shape.length === 1 ? [rows] : [rows, width])
  }
  return { name, mix }
}

interface Cells {
  readonly size: number
  readonly from: Uint16Array
  readonly features: number
  readonly columns: readonly number[]
}

interface Line<T> {
  readonly length: number
  [at: number]: T
}

type Mixer = (cells: Cells, own: Values, others: Values) => Values

function mixerOf(datatype: Datatype): Mixer {
  if (datatype === 'string') {
    return (cells, own, others) =>
      mixed(new Array<string>(cells.size), cells, [texts(own), texts(others)])
  }
  if (datatype === 'int64') {
    return (cells, own, others) =>
      mixed(new BigInt64Array(cells.size), cells, [bigs(own), bigs(others)])
  }
  if (datatype === 'uint64') {
    return (cells, own, others) =>
      mixed(new BigUint64Array(cells.size), cells, [bigs(own), bigs(others)])
  }
  const NumberArrayType = NUMBER_ARRAYS[datatype]
  return (cells, own, others) =>
    mixed(new NumberArrayType(cells.size), cells, [numbers(own), numbers(others)])
}

/** The inner loop of all explanations. */
function mixed<T, Target extends Line<T>>(
  target: Target & Line<T>,
  { from, features, columns }: Cells,
  [own, others]: readonly [Line<T>, Line<T>],
): Target {
  const width = columns.length
  for (let cell = 0, row = 0; cell < target.length; row += features) {
    for (let column = 0; column < width; column++, cell++) {
      const source = from[row + (columns[column] ?? 0)] ?? 0
      const value = source === 0 ? own[column] : others[(source - 1) * width + column]
      target[cell] = value as T
    }
  }
  return target
}

function texts(values: Values): string[] {
  return Array.isArray(values) ? values : []
}

function bigs(values: Values): BigInt64Array | BigUint64Array {
  const isBig = values instanceof BigInt64Array || values instanceof BigUint64Array
  return isBig ? values : new BigInt64Array()
}

function numbers(values: Values): Line<number> {
  if (Array.isArray(values)) return []
  if (values instanceof BigInt64Array || values instanceof BigUint64Array) return []
  return values
}
