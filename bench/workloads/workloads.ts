/**
 * What the systems are asked to serve: five models and the bodies for them. A workload is said
 * once here, and from it come the bundle of the node, the description for the peers and the same
 * question in both protocols.
 */

import { join } from 'node:path'
import { cachedFile, cacheFolder } from '../cache.ts'
import { ROOT } from '../paths.ts'
import type { Description } from '../peers/model.ts'
import { columnsModel, convolutionModel, denseModel, pseudoRandom, treesModel } from './models.ts'

export const WORKLOAD_NAMES = ['mlp', 'trees', 'columns', 'convolution', 'dense'] as const
export type WorkloadName = (typeof WORKLOAD_NAMES)[number]

/** One input of a model. With `columns` it is a table, one row a prediction; else a tensor. */
export interface WorkloadInput {
  readonly name: string
  readonly datatype: 'float32' | 'string'
  readonly columns: readonly string[] | null
  /** Of a tensor. */
  readonly shape: readonly number[] | null
}

/** How many rows a body has, and how many callers send it at the same time. */
export interface Shape {
  readonly name: 'single' | 'rows64' | 'large'
  readonly rows: number
  readonly connections: number
}

export interface Workload {
  readonly name: WorkloadName
  /** What it is, for people. */
  readonly title: string
  readonly inputs: readonly WorkloadInput[]
  /** Labels in the order of the probabilities; null: the answer is the tensor `scores`. */
  readonly classes: readonly string[] | null
  /** Categories of columns of text. */
  readonly texts: Readonly<Record<string, readonly string[]>>
  /** Threads of one run in the peers; 0: what ONNX Runtime takes by itself. */
  readonly threads: number
  readonly shapes: readonly Shape[]
  /** Path of the model; makes it when it is not there. */
  model(): string
}

const SINGLE: Shape = { name: 'single', rows: 1, connections: 64 }
const ROWS_64: Shape = { name: 'rows64', rows: 64, connections: 16 }
/** Rows of 200 features that make a body of two megabytes. */
const LARGE: Shape = { name: 'large', rows: 720, connections: 4 }

const DIGITS = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']
const NUMBERS = Array.from({ length: 8 }, (_, i) => `n${i}`)
const TEXTS = Object.fromEntries(
  ['plan', 'region', 'channel', 'device'].map((name) => [
    name,
    Array.from({ length: 6 }, (_, i) => `${name}-${i}`),
  ]),
)
const IMAGE_SIZE = 64
const CONVOLUTIONS = [
  { channels: 64, stride: 2 },
  { channels: 128, stride: 2 },
  { channels: 256, stride: 2 },
  { channels: 256, stride: 1 },
]
/** 160 MB: two narrow layers around a square one of 40 million weights. */
const DENSE_LAYERS = [64, 6_272, 6_272, 10]

function names(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `f${i}`)
}

function table(columns: readonly string[]): WorkloadInput[] {
  return [{ name: 'input', datatype: 'float32', columns, shape: null }]
}

/** A new version whenever a formula changes: the files are found by their names. */
const VERSION = 1

function cachedModel(name: string, make: () => Buffer): string {
  return cachedFile(join(cacheFolder(), `models-${VERSION}`, `${name}.onnx`), make)
}

/** A second dense model of the same shape, to switch to. */
export function otherDenseModel(): string {
  return cachedModel('dense-other', () => denseModel(DENSE_LAYERS, 800))
}

const WORKLOADS: readonly Workload[] = [
  {
    name: 'mlp',
    title: 'network of 10 features, two hidden layers (20 KB)',
    inputs: table(names(10)),
    classes: ['0', '1'],
    texts: {},
    threads: 1,
    shapes: [SINGLE, ROWS_64],
    model: () => join(ROOT, 'bench/models/small.onnx'),
  },
  {
    name: 'trees',
    title: '150 boosted trees of depth 6, 200 features in one tensor (0.6 MB)',
    inputs: table(names(200)),
    classes: ['low', 'middle', 'high'],
    texts: {},
    threads: 1,
    shapes: [SINGLE, ROWS_64, LARGE],
    model: () =>
      cachedModel('trees', () =>
        treesModel({ features: 200, trees: 150, depth: 6, classes: ['low', 'middle', 'high'] }),
      ),
  },
  {
    name: 'columns',
    title: 'pipeline with one input a column: 8 numbers, 4 texts (3 KB)',
    inputs: [
      ...NUMBERS.map((name) => column(name, 'float32')),
      ...Object.keys(TEXTS).map((name) => column(name, 'string')),
    ],
    classes: ['0', '1'],
    texts: TEXTS,
    threads: 1,
    shapes: [SINGLE, ROWS_64],
    model: () => cachedModel('columns', () => columnsModel({ numbers: NUMBERS, texts: TEXTS })),
  },
  {
    name: 'convolution',
    title: 'convolutional network on images of 64 x 64 (3.8 MB)',
    inputs: [
      {
        name: 'image',
        datatype: 'float32',
        columns: null,
        shape: [1, 3, IMAGE_SIZE, IMAGE_SIZE],
      },
    ],
    classes: null,
    texts: {},
    threads: 0,
    shapes: [{ ...SINGLE, connections: 16 }],
    model: () => cachedModel('convolution', () => convolutionModel(IMAGE_SIZE, CONVOLUTIONS)),
  },
  {
    name: 'dense',
    title: 'dense layers, 64 features (160 MB)',
    inputs: table(names(64)),
    classes: DIGITS,
    texts: {},
    threads: 0,
    shapes: [SINGLE, { ...ROWS_64, connections: 4 }],
    model: () => cachedModel('dense', () => denseModel(DENSE_LAYERS)),
  },
]

function column(name: string, datatype: WorkloadInput['datatype']): WorkloadInput {
  return { name, datatype, columns: [name], shape: null }
}

export function workloadOf(name: WorkloadName): Workload {
  const found = WORKLOADS.find((workload) => workload.name === name)
  if (found === undefined) throw new RangeError(`no workload is called "${name}"`)
  return found
}

/** What the model of that name is; the name itself when it is none of ours. */
export function workloadTitle(name: string): string {
  return WORKLOADS.find((workload) => workload.name === name)?.title ?? name
}

/** What a peer must know, as it is given on its command line. */
export function descriptionOf({ model, threads, inputs, classes }: Workload): string {
  return JSON.stringify({ model: model(), threads, inputs, classes } satisfies Description)
}

type FeatureValue = number | string | { shape: readonly number[]; data: readonly number[] }
export type Row = Readonly<Record<string, FeatureValue>>

/** Rows that differ, and are the same in every run. */
export function rowsOf(workload: Workload, count: number): Row[] {
  const random = pseudoRandom(900)
  const number = () => Math.round(random() * 10_000) / 10_000
  const anyValue = (name: string, datatype: string): FeatureValue => {
    if (datatype !== 'string') return number()
    const categories = workload.texts[name] ?? []
    return categories[Math.floor(((random() + 1) / 2) * categories.length)] ?? ''
  }
  return Array.from({ length: count }, () =>
    Object.fromEntries(
      workload.inputs.flatMap(({ name, datatype, columns, shape }) => {
        if (columns !== null) return columns.map((one) => [one, anyValue(one, datatype)] as const)
        const sizes = shape ?? []
        const size = sizes.reduce((product, dimension) => product * dimension, 1)
        return [[name, { shape: sizes, data: Array.from({ length: size }, number) }] as const]
      }),
    ),
  )
}
