/**
 * The background sample of an endpoint: rows that stand for "any other row", with the model's
 * scores of them. The forge writes the file, threads read it; it holds nothing but what was proven
 * to be scored.
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError } from '../../core/base/errors.ts'
import { isObject } from '../../core/base/json.ts'
import type { FeatureMap } from '../predictions/values.ts'
import type { Distinct, Sample } from './estimate.ts'

export interface Background {
  /** Names of the features that are explained, in order. */
  readonly features: readonly string[]
  /** Cells in the order of `features`; null is a missing value. */
  readonly rows: readonly (readonly unknown[])[]
  /** Per row the scores of all outputs. */
  readonly scores: readonly (readonly number[])[]
}

export async function readBackground(directory: string, file: string): Promise<Background> {
  const parsed: unknown = JSON.parse(await readFile(join(directory, file), 'utf8'))
  if (!isObject(parsed)) throw damaged(file)
  const { features, rows, scores } = parsed
  if (!isListOf(features, (name) => typeof name === 'string')) throw damaged(file)
  if (!isListOf(rows, (row) => Array.isArray(row) && row.length === features.length)) {
    throw damaged(file)
  }
  if (!isListOf(scores, isNumbers) || scores.length !== rows.length || rows.length === 0) {
    throw damaged(file)
  }
  return { features, rows, scores }
}

function damaged(file: string): AppError {
  return new AppError('ERR_LOAD_FAILED', `${file} is no background sample that the forge has made`)
}

function isNumbers(value: unknown): value is readonly number[] {
  return isListOf(value, (score) => typeof score === 'number')
}

function isListOf<T>(value: unknown, is: (item: unknown) => item is T): value is T[]
function isListOf(value: unknown, is: (item: unknown) => boolean): value is never[]
function isListOf(value: unknown, is: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(is)
}

/** As predictors take rows. */
export function rowsOf({ features, rows }: Background): FeatureMap[] {
  return rows.map((row) => Object.fromEntries(features.map((name, i) => [name, row[i]])))
}

type Scored = Pick<Sample, 'scores' | 'base'>

/** What is the same for all explained rows; made once. */
export class Table {
  readonly background: Background
  readonly #distinct: (Distinct | undefined)[] = []
  readonly #scores: (Scored | undefined)[] = []

  constructor(background: Background) {
    this.background = background
  }

  sample(explained: FeatureMap, output: number): Sample {
    const { features, rows } = this.background
    return {
      features: features.length,
      own: features.map((name) => (Object.hasOwn(explained, name) ? explained[name] : null)),
      others: rows,
      ...this.#scoresOf(output),
      distinct: (feature) => this.#distinctOf(feature),
    }
  }

  #scoresOf(output: number): Scored {
    const known = this.#scores[output] ?? scoredOf(this.background, output)
    this.#scores[output] = known
    return known
  }

  #distinctOf(feature: number): Distinct {
    const known = this.#distinct[feature] ?? distinctOf(this.background, feature)
    this.#distinct[feature] = known
    return known
  }
}

function scoredOf({ rows, scores: all }: Background, output: number): Scored {
  const scores = Float64Array.from(all, (row) => row[output] ?? Number.NaN)
  return { scores, base: scores.reduce((sum, score) => sum + score, 0) / rows.length }
}

function distinctOf({ rows }: Background, feature: number): Distinct {
  const first = new Map<unknown, number>()
  const counts = new Map<unknown, number>()
  for (const [i, row] of rows.entries()) {
    const value = row[feature]
    if (!first.has(value)) first.set(value, i)
    counts.set(value, (counts.get(value) ?? 0) + 1)
  }
  return { rows: Uint32Array.from(first.values()), counts: Uint32Array.from(counts.values()) }
}
