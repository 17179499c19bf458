/**
 * The file that workers load: the bundle's own, or the copy of it without ZipMap, written beside it
 * so that external weights are found by both. What is wrong with the file is told before any of it
 * reaches ONNX Runtime.
 */

import { join, posix } from 'node:path'
import { COMPILED_WEIGHTS_MIN } from '../../core/bundle/compiled.ts'
import type { StdPredictionEndpoint } from '../../core/bundle/endpoint-schemas.ts'
import type { WeightsPlan } from '../../core/bundle/plan.ts'
import { modelHash } from './model-hash.ts'
import { modelFacts, rewriteZipMaps } from './zipmap.ts'

export type ModelFile =
  | {
      readonly kind: 'found'
      /** Relative to the generation's directory, as all paths here. */
      readonly file: string
      readonly zipMap: 'none' | 'rewritten'
      /** Class labels by the output that they belong to; '' for a model without ZipMap. */
      readonly labels: ReadonlyMap<string, readonly string[]>
      /** Size of the model with its external weights. */
      readonly bytes: number
      /** Null: too few for a compiled form. */
      readonly weights: WeightsPlan | null
    }
  | { readonly kind: 'refused'; readonly reason: string }

/** All files of the bundle with their sizes. */
export type BundleFiles = ReadonlyMap<string, number>

export async function modelFile(
  directory: string,
  files: BundleFiles,
  model: string,
): Promise<ModelFile> {
  const facts = await modelFacts(join(directory, model))
  if (facts.kind === 'refused') return { kind: 'refused', reason: `${model}: ${facts.reason}` }
  const outside: string[] = []
  let outsideBytes = 0
  for (const { path, bytesMin } of facts.externalFiles) {
    const external = posix.join(posix.dirname(model), path)
    const size = files.get(external)
    const reason = externalFault(model, external, { size, bytesMin })
    if (reason !== null) return { kind: 'refused', reason }
    outside.push(external)
    outsideBytes += size ?? 0
  }
  const bytes = (files.get(model) ?? 0) + outsideBytes
  const found = await withoutZipMap(directory, { files, model, bytes })
  if (found.kind === 'refused') return found
  const weightBytes = facts.weightBytes + outsideBytes
  if (weightBytes < COMPILED_WEIGHTS_MIN) return { ...found, weights: null }
  const sha256 = await modelHash(directory, [found.file, ...outside])
  return { ...found, weights: { bytes: weightBytes, sha256 } }
}

interface ExternalSize {
  readonly size: number | undefined
  readonly bytesMin: number
}

function externalFault(
  model: string,
  external: string,
  { size, bytesMin }: ExternalSize,
): string | null {
  if (size === undefined) return `${model} needs the file "${external}", which is not in the bundle`
  if (size >= bytesMin) return null
  return `${model} needs ${bytesMin} bytes of "${external}", which has ${size}`
}

interface Original {
  readonly files: BundleFiles
  readonly model: string
  readonly bytes: number
}

type WithoutWeights =
  | Omit<Extract<ModelFile, { kind: 'found' }>, 'weights'>
  | Extract<ModelFile, { kind: 'refused' }>

async function withoutZipMap(directory: string, original: Original): Promise<WithoutWeights> {
  const { files, model, bytes } = original
  const copy = freeName(files, model)
  const result = await rewriteZipMaps(join(directory, model), join(directory, copy))
  if (result.kind === 'refused') return { kind: 'refused', reason: `${model}: ${result.reason}` }
  if (result.kind === 'rewritten') {
    const labels = new Map(result.outputs.map((output) => [output.name, output.labels]))
    return { kind: 'found', file: copy, zipMap: 'rewritten', labels, bytes }
  }
  const labels = new Map(result.classLabels === null ? [] : [['', result.classLabels]])
  return { kind: 'found', file: model, zipMap: 'none', labels, bytes }
}

/** A name beside the model that no file of the bundle has. */
function freeName(files: BundleFiles, model: string): string {
  let name = `${model}.switchyard.onnx`
  for (let i = 2; files.has(name); i++) name = `${model}.switchyard-${i}.onnx`
  return name
}

/** The labels of the probabilities that the manifest names, else of the only ones there are. */
export function labelsFor(
  labels: ReadonlyMap<string, readonly string[]>,
  endpoint: StdPredictionEndpoint,
): readonly string[] | null {
  const named = labels.get(endpoint.outputs?.probabilities ?? '')
  if (named !== undefined) return named
  const [first, second] = labels.values()
  return second === undefined ? (first ?? null) : null
}
