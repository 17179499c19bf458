/**
 * Goal: whatever element types and widths the inputs of a model have, and wherever slices cut, rows
 * are mixed of the right cells.
 * Method: models that add up their features, forged as a node does. Of those a contribution is
 * exactly what the feature adds beyond its mean in the background, by either method, where every
 * row of the background is drawn equally often. Slices of no length cut in all places.
 */

import t, { type Test } from 'tap'
import { type ElementType, onnxModel } from '../../../bench/workloads/onnx-builder.ts'
import type { OnnxEndpointPlan } from '../../../core/bundle/plan.ts'
import { readBackground } from '../../../workers/explanations/background.ts'
import { Explainer } from '../../../workers/explanations/explainer.ts'
import type { HeldTensors } from '../../../workers/explanations/onnx-scorer.ts'
import { openPredictor } from '../../../workers/onnx/predictor.ts'
import { askExplained, forgeBundleHere, type Json } from '../../tools/explained-endpoints.ts'
import { mixedPipeline } from '../../tools/onnx-models.ts'
import { randomOf } from '../../tools/random.ts'

t.setTimeout(240_000)

const random = randomOf(4_711)
const BACKGROUND_ROWS = 20
/** Five times the background. */
const STEPS = 100

interface Column {
  readonly name: string
  readonly type?: 'number' | 'integer' | 'boolean' | 'string'
  readonly weight: number
  /** Of the explained row, and of those of the background in turn; null: missing. */
  readonly own: Cell
  readonly others: readonly Cell[]
  /** What stands for a missing value. */
  readonly value?: number
}

type Cell = number | string | boolean | null

interface Input {
  readonly name: string
  readonly type: ElementType
  readonly columns: readonly Column[]
}

/** The sum of all cells, each with its weight. */
function adding(inputs: readonly Input[]): Buffer {
  const parts = inputs.map(({ name }) => `${name}_part`)
  const sums = parts.slice(1).map((part, i) => ({
    op: 'Add',
    inputs: [i === 0 ? (parts[0] ?? '') : `sum${i}`, part],
    outputs: [`sum${i + 1}`],
  }))
  return onnxModel({
    inputs: inputs.map(({ name, type, columns }) => ({ name, type, shape: ['N', columns.length] })),
    outputs: [{ name: 'variable', type: 'double', shape: ['N', 1] }],
    initializers: inputs.map(({ name, columns }) => ({
      name: `${name}_weights`,
      type: 'double',
      dims: [columns.length, 1],
      data: columns.map(({ weight }) => weight),
    })),
    nodes: [
      ...inputs.flatMap(({ name }) => [
        { op: 'Cast', inputs: [name], outputs: [`${name}_cast`], attributes: { to: { int: 11 } } },
        { op: 'MatMul', inputs: [`${name}_cast`, `${name}_weights`], outputs: [`${name}_part`] },
      ]),
      ...sums,
      {
        op: 'Identity',
        inputs: [sums.at(-1)?.outputs[0] ?? parts[0] ?? ''],
        outputs: ['variable'],
      },
    ],
  })
}

function otherOf({ others }: Column, row: number): Cell {
  return others[row % others.length] ?? null
}

function rowOf(columns: readonly Column[], cellOf: (column: Column) => Cell): Json {
  return Object.fromEntries(columns.map((column) => [column.name, cellOf(column)]))
}

interface Tried {
  readonly columns: readonly Column[]
  readonly model: Buffer
  /** What a cell adds to the prediction. */
  readonly adds: (column: Column, cell: Cell) => number
  /** Relative to the largest contribution. */
  readonly precision: number
}

const byWeight: Tried['adds'] = ({ weight, value = 0 }, cell) => weight * Number(cell ?? value)

async function compare(t: Test, { columns, model, adds, precision }: Tried): Promise<void> {
  const sample = Array.from({ length: BACKGROUND_ROWS }, (_, i) =>
    rowOf(columns, (column) => otherOf(column, i)),
  )
  const endpoint = {
    id: 'sum',
    type: 'STD_PREDICTION',
    model: 'm.onnx',
    prediction: 'REGRESSION',
    features: columns.map(({ name, type = 'number', value }) => {
      return { name, type, ...(value === undefined ? {} : { onMissing: 'IMPUTE', value }) }
    }),
    explanations: { background: 'rows.json' },
    testQueries: sample.slice(0, 8).map((features) => ({ q: { features } })),
  }
  const files = { 'm.onnx': model, 'rows.json': JSON.stringify(sample) }
  const { plan, directory } = await forgeBundleHere(t, [endpoint], files)
  const [forged] = plan.endpoints as [OnnxEndpointPlan]
  t.equal(forged.prediction.batchable, true, 'rows share runs')
  const made = await readBackground(directory, forged.explanations?.background ?? '')
  const names = { serviceId: 'svc', generationId: 'g1' }
  const openWith = async (sliceMs: number) => {
    const explainer = new Explainer<HeldTensors>(made, { plan: forged, ...names, sliceMs })
    const predictor = await openPredictor(directory, { ...names, explainer }, forged)
    t.teardown(() => predictor.release())
    return predictor
  }
  const whole = await openWith(10_000)
  const cut = [await openWith(0), await openWith(0)]
  const exact = columns.map((column) => {
    const others = sample.map((_, i) => adds(column, otherOf(column, i)))
    return adds(column, column.own) - others.reduce((sum, one) => sum + one, 0) / others.length
  })
  const tolerance = precision * Math.max(...exact.map(Math.abs))
  const features = rowOf(columns, ({ own }) => own)
  for (const nMonteCarloSteps of [25, 1_000]) {
    const explanations = { enabled: true, nMonteCarloSteps, nExplanations: 1_000_000 }
    const { answer } = await askExplained(whole, { features, explanations })
    t.equal(Object.keys(answer?.['result'].explanations).length, columns.length, 'all there are')
  }
  for (const method of ['SHAPLEY', 'ICE']) {
    const explanations = { enabled: true, method, nExplanations: 99, nMonteCarloSteps: STEPS }
    for (const threads of [[whole], cut]) {
      const items = [{ features }, { features: sample[0] }, { features }]
      const body = { items, explanations }
      const told = await askExplained(whole, body, { verb: 'multi', threads })
      const [first, , again] = told.answer?.['results'] ?? []
      const got = columns.map(({ name }) => Number(first?.explanations[name]))
      const worst = Math.max(...got.map((one, i) => Math.abs(one - (exact[i] ?? 0))))
      t.ok(worst <= tolerance, `${method}, ${told.slices} slices: off by ${worst}`)
      t.equal(Object.keys(first.explanations).length, columns.length, 'there are no more')
      if (threads.length === 1) t.same(again, first, 'the same row, the same explanation')
    }
  }
}

function numbers(count: number, draw: () => number): Column[] {
  return Array.from({ length: count }, (_, i) => ({
    name: `x${i}`,
    weight: 1 + (i % 7),
    own: draw(),
    others: Array.from({ length: BACKGROUND_ROWS }, draw),
  }))
}

t.test('one column, some, and many', async (t) => {
  for (const count of [1, 31, 32]) {
    const columns = numbers(count, () => Math.fround(random.next() * 8 - 4))
    const model = adding([{ name: 'X', type: 'float', columns }])
    await compare(t, { columns, model, adds: byWeight, precision: 1e-4 })
  }
})

t.test('inputs of all types beside each other', async (t) => {
  const others = [-1, 2 ** 40, -(2 ** 33), 0, 7]
  const inputs: Input[] = (
    [
      ['int64', 'integer', 1, -(2 ** 35) - 3, others],
      ['uint64', 'integer', 2, 2 ** 41 + 1, [0, 2 ** 32 - 1, 5, 9]],
      ['int32', 'integer', 2 ** 10, -7, [30, 40, -(2 ** 31), 1]],
      ['bool', 'boolean', 2 ** 38, true, [false, true, false, false]],
      ['double', 'number', 2 ** 36, 0.1, [0.3, -5, 1e-9, 2]],
    ] as const
  ).map(([element, type, weight, own, given]) => {
    const column = { name: `of_${element}`, type, weight, own, others: given }
    return { name: column.name, type: element, columns: [column] }
  })
  const columns = inputs.flatMap((input) => input.columns)
  await compare(t, { columns, model: adding(inputs), adds: byWeight, precision: 1e-9 })
})

t.test('64-bit integers side by side, below zero and beyond 32 bits', async (t) => {
  const columns: Column[] = numbers(20, () => (random.below(2 ** 20) - 2 ** 19) * 2 ** 20 - 1)
  const integers = columns.map((column) => ({ ...column, type: 'integer' }) as const)
  const model = adding([{ name: 'X', type: 'int64', columns: integers }])
  await compare(t, { columns: integers, model, adds: byWeight, precision: 1e-9 })
})

t.test('missing values, of the row and of the background', async (t) => {
  const columns = numbers(6, () => Math.fround(random.next())).map((column, i) => ({
    ...column,
    value: 0.5,
    own: i % 2 === 0 ? null : column.own,
    others: column.others.map((cell, row) => (row % 3 === i % 3 ? null : cell)),
  }))
  const model = adding([{ name: 'X', type: 'float', columns }])
  await compare(t, { columns, model, adds: byWeight, precision: 1e-4 })
})

t.test('texts beside numbers', async (t) => {
  const colours: Readonly<Record<string, number>> = { red: 1, green: 2, blue: 3 }
  const columns: Column[] = [
    {
      name: 'colour',
      type: 'string',
      weight: 1,
      own: 'blue',
      others: ['red', 'green', 'red', 'blue'],
    },
    { name: 'size', weight: 10, own: 0.5, others: [0.25, 1, 0.5, -2, 4] },
  ]
  const adds: Tried['adds'] = ({ weight }, cell) =>
    typeof cell === 'string' ? (colours[cell] ?? Number.NaN) : weight * Number(cell)
  await compare(t, { columns, model: mixedPipeline(), adds, precision: 1e-5 })
})
