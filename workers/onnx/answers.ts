/**
 * Encodes the outputs of one run as JSON answers. All text that a model's answers share is built
 * once; per row only numbers are written. What is not finite is answered as null, never as NaN.
 */

import type { PredictionPlan } from '../../core/bundle/plan.ts'
import { resultWriter, type WriteResult } from '../predictions/result-text.ts'
import type { FeatureMap } from '../predictions/values.ts'
import type { Fetched, Tensor } from './session.ts'

/** A row; its features after look-ups. */
interface Featured {
  readonly features: FeatureMap
}

/** Answers of one run, row by row. */
export interface ResultEncoder {
  /** The `result` object as JSON text. */
  text(row: number, of: Featured): string
  /** Index of the class that the model predicts, where there are more than two; else 0. */
  output(row: number): number
}

/** The outputs do not fit the number of rows: the answers could not be told apart. */
class ShapeMismatch extends Error {}

/** Names of the outputs that the answers need; nothing else is fetched. */
export function fetchesOf(plan: PredictionPlan): string[] {
  const names = [plan.label, plan.probabilities, plan.value]
  return names.filter((name) => name !== null)
}

/** Makes, once per endpoint, what turns the outputs of each run into answers. */
export function answerMaker(
  plan: PredictionPlan,
): (outputs: Fetched, rows: number) => ResultEncoder {
  const isPlain = plan.percentiles === undefined && plan.overrides === undefined
  const write = isPlain ? null : resultWriter(plan)
  if (plan.kind === 'REGRESSION') {
    const name = plan.value ?? ''
    return (outputs, rows) => regression(column(outputs, name, rows), write)
  }
  const scores = plan.probabilities
  if (scores === null) {
    const name = plan.label ?? ''
    return (outputs, rows) => labelsOnly(column(outputs, name, rows), plan, write)
  }
  return classification(plan, scores, write)
}

type Values = Tensor['data']

function column(outputs: Fetched, name: string, rows: number): Values {
  return matrix(outputs, name, rows, 1)
}

/** Data of an output that must hold rows × columns values, row-major. */
function matrix(outputs: Fetched, name: string, rows: number, columns: number): Values {
  const tensor = outputs[name]
  if (tensor === undefined) throw new ShapeMismatch(`the model gave no output "${name}"`)
  if (tensor.data.length !== rows * columns) {
    const got = `[${tensor.dims.join(', ')}]`
    throw new ShapeMismatch(`output "${name}" has shape ${got} for ${rows} rows × ${columns}`)
  }
  return tensor.data
}

/** `write`: null where nothing is told but the model's own answer. */
function regression(values: Values, write: WriteResult | null): ResultEncoder {
  return {
    output: () => 0,
    text: (row, of) => {
      if (write === null) return `{"prediction":${jsonNumber(values[row])},"ignored":false}`
      const prediction = Number(values[row])
      return write({ prediction, probas: null, customKeys: null }, of.features)
    },
  }
}

function labelsOnly(
  labels: Values,
  plan: PredictionPlan,
  write: WriteResult | null,
): ResultEncoder {
  const indexOf = labelIndex(plan.classes)
  return {
    output: (row) => Math.max(0, indexOf(labels[row])),
    text: (row, of) => {
      const prediction = plan.classes[indexOf(labels[row])] ?? String(labels[row])
      if (write !== null) return write({ prediction, probas: null, customKeys: null }, of.features)
      return `{"prediction":${JSON.stringify(prediction)},"ignored":false}`
    },
  }
}

function classification(plan: PredictionPlan, scores: string, write: WriteResult | null) {
  const { classes, label, threshold } = plan
  const indexOf = labelIndex(classes)
  const heads = classes.map((name) => `{"prediction":${JSON.stringify(name)},"probas":{`)
  const keys = classes.map((name, i) => `${i === 0 ? '' : ','}${JSON.stringify(name)}:`)
  return (outputs: Fetched, rows: number): ResultEncoder => {
    const columns = probabilityColumns(outputs, scores, rows, classes.length)
    const values = matrix(outputs, scores, rows, columns)
    const labels = label === null || threshold !== null ? null : column(outputs, label, rows)
    const at = (row: number, i: number) => probability(values, columns, row, i)
    return {
      output: (row) => (classes.length > 2 ? winner(row) : 0),
      text: write === null ? plain : (row, of) => deep(row, of.features, write),
    }
    function plain(row: number): string {
      let text = heads[winner(row)] ?? ''
      for (let i = 0; i < keys.length; i++) text += `${keys[i]}${jsonNumber(at(row, i))}`
      return `${text}},"ignored":false}`
    }
    function deep(row: number, features: FeatureMap, written: WriteResult): string {
      const probas = classes.map((name, i) => [name, at(row, i)] as const)
      const prediction = classes[winner(row)] ?? ''
      return written({ prediction, probas, customKeys: null }, features)
    }
    function winner(row: number): number {
      if (threshold !== null) return at(row, 1) >= threshold ? 1 : 0
      const index = labels === null ? -1 : indexOf(labels[row])
      return index >= 0 ? index : argmax(row, classes.length, at)
    }
  }
}

/** A binary model may answer only the probability of its second class. */
function probabilityColumns(outputs: Fetched, name: string, rows: number, classes: number): number {
  return classes === 2 && outputs[name]?.data.length === rows ? 1 : classes
}

function probability(values: Values, columns: number, row: number, i: number): number {
  if (columns > 1) return Number(values[row * columns + i])
  const second = Number(values[row])
  return i === 1 ? second : 1 - second
}

function argmax(row: number, size: number, at: (row: number, i: number) => number): number {
  let best = 0
  for (let i = 1; i < size; i++) if (at(row, i) > at(row, best)) best = i
  return best
}

/** A model's label is a class, or the index of one; -1 when it is neither. */
function labelIndex(classes: readonly string[]): (label: Values[number] | undefined) => number {
  const byText = new Map(classes.map((name, i) => [name, i]))
  // Numbers are looked up as numbers: making a text of every label costs more than the map.
  const byNumber = new Map<number, number>(classes.map((_, i) => [i, i]))
  const areNumbers = classes.every((name) => String(Number(name)) === name)
  if (areNumbers) {
    byNumber.clear()
    for (const [name, i] of byText) byNumber.set(Number(name), i)
  }
  return (label) => {
    if (typeof label === 'string') return byText.get(label) ?? -1
    return byNumber.get(Number(label)) ?? -1
  }
}

function jsonNumber(value: Values[number] | undefined): string {
  if (typeof value === 'number' && Number.isFinite(value)) return String(value)
  return typeof value === 'bigint' ? String(value) : 'null'
}
