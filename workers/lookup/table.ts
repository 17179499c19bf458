/** Rows of one table by key, for one thread, out of the environment that the forge made. */

import { join } from 'node:path'
import type { TablePlan } from '../../core/bundle/plan.ts'
import { openEnvironment, type TableEnvironment } from './environment.ts'
import { isStorable, joinKey } from './keys.ts'
import { MULTIPLE_MARK } from './merge.ts'
import { storedCells } from './row-encoder.ts'

/** Cells as JSON texts in the order of the table's columns, or why there are none. */
export type Found =
  | readonly string[]
  | { readonly kind: 'missing' }
  /** Null: at least two. */
  | { readonly kind: 'multiple'; readonly rows: number | null }

const MISSING: Found = { kind: 'missing' }

export class Table {
  readonly #environment: TableEnvironment

  constructor(directory: string, runDirectory: string, { lmdb }: TablePlan) {
    this.#environment = openEnvironment(join(directory, lmdb ?? ''), runDirectory)
  }

  /** Parts in the order of the key, each as keyPartOfValue() gives it. */
  find(parts: readonly string[]): Found {
    const key = joinKey(parts)
    if (!isStorable(key)) return MISSING
    const value = this.#environment.get(key)
    if (value === undefined) return MISSING
    if (!value.startsWith(MULTIPLE_MARK)) return storedCells(value)
    return { kind: 'multiple', rows: Number(value.slice(MULTIPLE_MARK.length)) }
  }

  close(): Promise<void> {
    return this.#environment.close()
  }
}
