/**
 * The same question in two protocols, and their answers made comparable: the node's own (its peers
 * that are programs of the benchmark speak it too), and the open inference protocol (V2) of
 * MLServer and Triton.
 */

import { PREDICT_PATH } from '../peers/ready.ts'
import type { Row, Workload, WorkloadInput } from './workloads.ts'

export const PROTOCOLS = ['own', 'v2'] as const
export type Protocol = (typeof PROTOCOLS)[number]

export interface Question {
  readonly path: string
  readonly body: string
}

/** Scores of each row, in the order of the classes, or the numbers of a tensor. */
export type Scores = readonly (readonly number[])[]

export function questionOf(protocol: Protocol, workload: Workload, rows: readonly Row[]): Question {
  if (protocol === 'v2') {
    const inputs = workload.inputs.map((input) => v2Input(input, rows))
    return { path: '/v2/models/bench/infer', body: JSON.stringify({ inputs }) }
  }
  if (rows.length === 1) {
    return { path: PREDICT_PATH, body: JSON.stringify({ features: rows[0] }) }
  }
  const items = rows.map((features) => ({ features }))
  return { path: `${PREDICT_PATH}-multi`, body: JSON.stringify({ items }) }
}

function v2Input({ name, datatype, columns }: WorkloadInput, rows: readonly Row[]) {
  if (columns === null) {
    const tensor = rows[0]?.[name]
    if (typeof tensor !== 'object') throw new TypeError(`"${name}" is no tensor`)
    return { name, shape: tensor.shape, datatype: 'FP32', data: tensor.data }
  }
  const data = rows.flatMap((row) => columns.map((column) => row[column]))
  const shape = [rows.length, columns.length]
  return { name, shape, datatype: datatype === 'string' ? 'BYTES' : 'FP32', data }
}

interface OwnResult {
  readonly probas?: Readonly<Record<string, number>>
  readonly outputs?: { readonly scores: { readonly data: readonly number[] } }
}

interface OwnAnswer {
  readonly result?: OwnResult
  readonly results?: readonly OwnResult[]
}

interface V2Answer {
  readonly outputs: readonly { readonly name: string; readonly data: readonly number[] }[]
}

export function scoresOf(protocol: Protocol, workload: Workload, text: string): Scores {
  if (protocol === 'v2') return v2Scores(workload, JSON.parse(text))
  const { result, results }: OwnAnswer = JSON.parse(text)
  return (results ?? [result]).map((one) => {
    const scores = workload.classes?.map((name) => one?.probas?.[name] ?? Number.NaN)
    return scores ?? one?.outputs?.scores.data ?? []
  })
}

function v2Scores({ classes }: Workload, { outputs }: V2Answer): Scores {
  const wanted = classes === null ? 'scores' : 'probas'
  const data = outputs.find(({ name }) => name === wanted)?.data ?? []
  const width = classes?.length ?? data.length
  const rows = width === 0 ? 0 : data.length / width
  return Array.from({ length: rows }, (_, i) => data.slice(i * width, (i + 1) * width))
}

const TOLERANCE = 1e-4

/** What differs first, for people; null: they say the same. */
export function firstDifference(expected: Scores, given: Scores): string | null {
  if (expected.length !== given.length) return `${given.length} rows, not ${expected.length}`
  for (const [row, scores] of expected.entries()) {
    const others = given[row] ?? []
    if (scores.length !== others.length) return `row ${row} has ${others.length} scores`
    for (const [i, score] of scores.entries()) {
      const other = others[i] ?? Number.NaN
      // Written this way, a NaN on either side is a difference.
      if (!(Math.abs(score - other) <= TOLERANCE * Math.max(1, Math.abs(score)))) {
        return `row ${row}, score ${i}: ${other}, not ${score}`
      }
    }
  }
  return null
}
