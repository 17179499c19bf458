/**
 * What the features of a model are called: as its inputs, or, where it has one input for all of
 * them, as the columns of a sample of which there are just as many.
 */

import { basename } from 'node:path'
import type { ManifestFeature } from '../../core/bundle/manifest-features.ts'
import type { TensorSpec } from '../../core/bundle/plan.ts'
import { nearest, shown } from '../../core/bundle/sentences.ts'
import { widthOf } from '../forge/inputs.ts'
import type { ColumnsDraft, DraftSample } from '../protocol.ts'
import { DraftRefused } from './refused.ts'

/** Null: as the node calls them where nobody says anything. */
export function featuresOf(
  inputs: readonly TensorSpec[],
  sample: DraftSample | null,
  read: ColumnsDraft | null,
): readonly ManifestFeature[] | null {
  if (sample === null || read === null) return null
  const columns = columnsOf(sample, read)
  const [only] = inputs
  if (inputs.length > 1) return perInput(inputs, columns, sample)
  const width = only === undefined ? null : widthOf(only.shape)
  if (typeof width !== 'number' || width === columns.length) {
    return columns.map((name) => ({ name }))
  }
  const own = Array.from({ length: width }, (_, i) => `f${i}`)
  if (own.every((name) => columns.includes(name))) return null
  const file = basename(sample.file)
  const counts = `${file} has ${columns.length} columns, the model takes ${width} features`
  const isOneMore = columns.length === width + 1 && sample.target === null
  const cure = isOneMore ? ': name the one that is no feature with --target' : ''
  throw new DraftRefused(`${counts}${cure}`)
}

/** All but the target. */
function columnsOf({ file, target }: DraftSample, { columns }: ColumnsDraft): string[] {
  const names = columns.map(({ name }) => name)
  if (target !== null && !names.includes(target)) {
    throw new DraftRefused(`--target ${shown(target)}: ${noColumn(file, target, names)}`)
  }
  return names.filter((name) => name !== target)
}

export function noColumn(file: string, name: string, columns: readonly string[]): string {
  const near = nearest(name, columns)
  const hint = near === null ? '' : `; did you mean "${near}"?`
  return `${basename(file)} has no column ${shown(name)} in its header${hint}`
}

function perInput(
  inputs: readonly TensorSpec[],
  columns: readonly string[],
  { file }: DraftSample,
): readonly ManifestFeature[] | null {
  // Features of a wide input have names that no header can be expected to hold.
  if (inputs.some(({ shape }) => widthOf(shape) !== 1)) return null
  return inputs.map(({ name }) => {
    if (columns.includes(name)) return { name }
    // Exporters write "_" for what may not be in the name of an input.
    const spelt = columns.find((column) => column.replace(/[^A-Za-z0-9_]/g, '_') === name)
    if (spelt === undefined) throw new DraftRefused(noColumn(file, name, columns))
    return { name: spelt, input: name }
  })
}
