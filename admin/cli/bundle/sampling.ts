/**
 * What samples add to the archive of a bundle: percentiles of a binary classification, and the
 * background sample of explanations. The folder stays as its author wrote it: both are made of a
 * model and its data, and made anew with each archive.
 */

import { basename, extname, join, resolve } from 'node:path'
import { isObject } from '../../../core/base/json.ts'
import type { EndpointPlan } from '../../../core/bundle/plan.ts'
import { nearest, shown } from '../../../core/bundle/sentences.ts'
import type { SampleDraft } from '../../../workers/protocol.ts'
import type { BundleFile } from '../../bundle/archive.ts'
import type { Call } from '../command.ts'
import { failed, wrongUsage } from '../failures.ts'
import { nodeSettings } from '../settings.ts'
import { draftOf, sizeOfFile } from './drafting.ts'
import type { Tried, Workshop } from './forging.ts'
import { manifestText } from './manifest-text.ts'
import { type Folder, MANIFEST, parsedManifest } from './source.ts'

export interface GivenSample {
  /** Null: the only endpoint that predicts rows. */
  readonly endpointId: string | null
  /** Absolute. */
  readonly file: string
}

/** `FILE` or `ENDPOINT=FILE`, as often as there are endpoints. */
export async function samplesGiven({ flags }: Call, folder: Folder): Promise<GivenSample[]> {
  const ids = endpointsOf(parsedManifest(folder.manifestText)).map(({ id }) => String(id))
  const samples: GivenSample[] = []
  for (const text of flags.texts('sample')) {
    const at = text.indexOf('=')
    const id = ids.find((one) => at > 0 && one === text.slice(0, at)) ?? null
    const file = id === null ? text : text.slice(at + 1)
    if (!/\.(?:csv|tsv|json)$/i.test(file)) {
      throw wrongUsage(`--sample ${text}: a sample is a .csv, .tsv or .json file`)
    }
    await sizeOfFile(file, `--sample ${file}`)
    samples.push({ endpointId: id, file: resolve(file) })
  }
  if (samples.length === 0 && flags.text('target') !== null) {
    throw wrongUsage('--target names a column of --sample, which is not given')
  }
  return samples
}

export interface SampledEndpoint {
  readonly endpoint: string
  readonly draft: SampleDraft
}

export interface Sampled {
  /** All files of the archive, with another manifest and the background samples. */
  readonly files: readonly BundleFile[]
  readonly endpoints: readonly SampledEndpoint[]
  readonly notes: readonly string[]
}

interface Sampling {
  readonly folder: Folder
  readonly files: readonly BundleFile[]
  readonly samples: readonly GivenSample[]
  /** The bundle without them. */
  readonly tried: Tried
}

export async function withSamples(
  call: Call,
  workshop: Workshop,
  { folder, files, samples, tried }: Sampling,
): Promise<Sampled> {
  const manifest = parsedManifest(folder.manifestText) ?? {}
  const added: BundleFile[] = []
  const endpoints: SampledEndpoint[] = []
  const notes: string[] = []
  const changes = new Map<string, object>()
  for (const sample of samples) {
    const plan = planOf(sample, tried)
    if (changes.has(plan.id)) throw wrongUsage(`--sample: ${plan.id} has two samples`)
    const path = `background/${plan.id}${extname(sample.file).toLowerCase()}`
    const source = join(workshop.scratch, path)
    const draft = await draftSample(call, workshop, { sample, plan, tried, background: source })
    added.push({ path, source, bytes: await sizeOfFile(source, path) })
    endpoints.push({ endpoint: plan.id, draft })
    const old = endpointsOf(manifest).find(({ id }) => id === plan.id) ?? {}
    changes.set(plan.id, changeOf(old, draft, path))
    notes.push(...notesOf(old, draft, plan.id, sample.file))
  }
  const text = manifestText({
    ...manifest,
    endpoints: endpointsOf(manifest).map((one) => ({ ...one, ...changes.get(String(one['id'])) })),
  })
  const data = Buffer.from(text)
  const replaced = new Set([MANIFEST, ...added.map(({ path }) => path)])
  const kept = files.filter(({ path }) => !replaced.has(path))
  const own: BundleFile = { path: MANIFEST, source: data, bytes: data.length }
  return { files: [...kept, own, ...added], endpoints, notes }
}

function endpointsOf(manifest: Readonly<Record<string, unknown>> | null) {
  const endpoints = manifest?.['endpoints']
  return Array.isArray(endpoints) ? endpoints.filter(isObject) : []
}

const PREDICTIONS: readonly string[] = [
  'STD_PREDICTION',
  'CUSTOM_PREDICTION',
  'CUSTOM_R_PREDICTION',
]

function planOf({ endpointId, file }: GivenSample, { forged }: Tried): EndpointPlan {
  const all = forged.plan.endpoints.filter(({ type }) => PREDICTIONS.includes(type))
  if (endpointId !== null) {
    const found = all.find(({ id }) => id === endpointId)
    if (found !== undefined) return found
    throw failed(`--sample: the endpoint ${shown(endpointId)} predicts nothing, or was not tried`)
  }
  const [only] = all
  const name = basename(file)
  if (only !== undefined && all.length === 1) return only
  if (only === undefined) throw failed(`--sample ${name}: no endpoint of the bundle predicts`)
  const ids = all.map(({ id }) => id)
  const near = nearest(name.replace(/\..*/, ''), ids) ?? only.id
  const list = ids.join(', ')
  throw wrongUsage(`--sample ${name}: for which of ${list}? Write --sample ${near}=${name}`)
}

interface Drawing {
  readonly sample: GivenSample
  readonly plan: EndpointPlan
  readonly tried: Tried
  readonly background: string
}

function draftSample(
  { shell, flags }: Call,
  { settings }: Workshop,
  { sample, plan, tried, background }: Drawing,
): Promise<SampleDraft> {
  const { file } = sample
  const config = nodeSettings(shell, flags, ['config', 'python', 'rscript'])
  return draftOf(
    { shell, config },
    {
      kind: 'sample',
      sample: { file, target: flags.text('target') },
      endpoint: plan,
      directory: tried.directory,
      settings,
      background,
    },
    { file },
  )
}

/** How it explains stays as it is said there. */
function changeOf(
  old: Readonly<Record<string, unknown>>,
  { percentiles }: SampleDraft,
  path: string,
): object {
  const explanations = isObject(old['explanations']) ? old['explanations'] : {}
  return {
    ...(percentiles === null ? {} : { percentiles }),
    explanations: { ...explanations, background: path },
  }
}

function notesOf(
  old: Readonly<Record<string, unknown>>,
  { unused, ignored, percentiles }: SampleDraft,
  id: string,
  file: string,
): string[] {
  const name = basename(file)
  const notes: string[] = []
  if (unused.length > 0) {
    const columns = unused.slice(0, 20).join(', ')
    const more = unused.length > 20 ? ` and ${unused.length - 20} more` : ''
    notes.push(`${name}: no features of ${id} and not used: ${columns}${more}`)
  }
  if (ignored > 0) notes.push(`${name}: ${ignored} rows are left out by the rules of ${id}`)
  if (percentiles !== null && old['percentiles'] !== undefined) {
    notes.push(`${id}: the percentiles of ${name} take the place of those in ${MANIFEST}`)
  }
  if (isObject(old['explanations'])) {
    notes.push(`${id}: ${name} takes the place of the background in ${MANIFEST}`)
  }
  return notes
}

/** For people. */
export function sampledText({ endpoint, draft }: SampledEndpoint): string {
  const { rows, percentiles, backgroundRows } = draft
  const quantiles = percentiles === null ? '' : `${percentiles.length} percentiles and `
  return `${endpoint}: ${rows} rows give ${quantiles}${backgroundRows} rows for explanations`
}
