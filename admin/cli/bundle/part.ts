/** What `bundle init` adds to a bundle: an endpoint, and the tables and files that go with it. */

import { basename, extname, relative, resolve, sep } from 'node:path'
import type { PredictionKind } from '../../../core/bundle/plan.ts'
import type { ColumnDraft, ColumnsDraft } from '../../../workers/protocol.ts'
import type { Call } from '../command.ts'
import { wrongUsage } from '../failures.ts'
import type { Flags } from '../flags.ts'

export interface Part {
  /** As it is in the manifest. */
  readonly endpoint: Readonly<Record<string, unknown>>
  readonly tables?: readonly Readonly<Record<string, unknown>>[]
  readonly files: readonly PartFile[]
  /** In a few words, for people. */
  readonly about: string
  readonly notes: readonly string[]
}

export interface PartFile {
  /** Absolute. */
  readonly source: string
  /** Wanted in the bundle, relative. */
  readonly path: string
}

/** Path in the bundle: a file that is in its folder already stays where it is. */
export function pathInBundle({ args: [directory = ''] }: Call, file: string): string {
  const inside = relative(resolve(directory), resolve(file)).split(sep).join('/')
  return inside.startsWith('../') || resolve(file) === inside ? basename(file) : inside
}

/** `--endpoint`, else a name made of what the endpoint is made of. */
export function endpointId(flags: Flags, from: string): string {
  const given = flags.text('endpoint')
  if (given !== null) return given
  const stem = basename(from, extname(from))
  const id = stem.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '')
  return id === '' ? 'endpoint' : id.slice(0, 128)
}

const KINDS = ['BINARY_CLASSIFICATION', 'MULTICLASS', 'REGRESSION'] as const
export type RowKind = Exclude<PredictionKind, 'RAW'>

/** `--prediction`; null: not given. */
export function predictionGiven(flags: Flags): PredictionKind | null {
  const given = flags.text('prediction')
  if (given === null) return null
  const name = given.toUpperCase().replaceAll('-', '_')
  const kind = KINDS.find((one) => one === name || one.startsWith(`${name}_`))
  if (kind !== undefined) return kind
  if (name === 'RAW') return name
  throw wrongUsage(`--prediction ${JSON.stringify(given)}: ${KINDS.join(', ')} or RAW`)
}

export interface SampleFeature {
  readonly name: string
  readonly type: 'number' | 'integer' | 'string' | 'boolean'
}

const FEATURE_TYPES = ['number', 'integer', 'boolean'] as const

/** Of code, which has no signature: the columns of its sample. */
export function sampleFeatures(columns: readonly ColumnDraft[]): SampleFeature[] {
  return columns.map(({ name, type }) => {
    return { name, type: FEATURE_TYPES.find((one) => one === type) ?? 'string' }
  })
}

/** The first row as a caller would send it; null where a value is missing. */
export function firstRow(
  { first }: ColumnsDraft,
  features: readonly SampleFeature[],
): Readonly<Record<string, unknown>> | null {
  const cells = features.map(({ name, type }) => {
    const value = first[name] ?? null
    return [name, value !== null && type === 'string' ? String(value) : value] as const
  })
  return cells.every(([, value]) => value !== null) ? Object.fromEntries(cells) : null
}
