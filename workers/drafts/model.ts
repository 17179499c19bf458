/**
 * Reads an ONNX model as far as its manifest needs it: what it predicts, of which features, with
 * which classes; with the forge's own code, so that a node will read it alike. A row that the model
 * answers becomes its test query.
 */

import { constants, copyFile, mkdir, stat } from 'node:fs/promises'
import { basename, dirname, join, posix } from 'node:path'
import { messageOf } from '../../core/base/errors.ts'
import type { StdPredictionEndpoint } from '../../core/bundle/endpoint-schemas.ts'
import type { ManifestFeature } from '../../core/bundle/manifest-features.ts'
import type { FeaturePlan, PredictionPlan } from '../../core/bundle/plan.ts'
import { notTabular, planInputs } from '../forge/inputs.ts'
import { labelsFor, type ModelFile, modelFile } from '../forge/model-file.ts'
import { withGivenRanks } from '../forge/raw.ts'
import { loadReason, shortReason } from '../forge/reasons.ts'
import { planPrediction, type Signature } from '../forge/signature.ts'
import { type RowTrial, tryAsRows } from '../forge/trial.ts'
import { modelFacts } from '../forge/zipmap.ts'
import { type Model, openModel } from '../onnx/session.ts'
import { type FeatureMap, numeric, truth } from '../predictions/values.ts'
import type { ColumnsDraft, DraftRequest, ModelDraft } from '../protocol.ts'
import { draftColumns } from './columns.ts'
import type { Say } from './draft.ts'
import { featuresOf } from './feature-names.ts'
import { DraftRefused } from './refused.ts'

type ModelRequest = Extract<DraftRequest, { kind: 'model' }>

export async function draftModel(request: ModelRequest, say: Say): Promise<ModelDraft> {
  const name = basename(request.model)
  say(`reading ${name}`, null)
  const files = await copyFiles(request)
  const sizes = await Promise.all(
    files.map(async (path) => [path, (await stat(join(request.scratch, path))).size] as const),
  )
  const file = await modelFile(request.scratch, new Map(sizes), name)
  if (file.kind === 'refused') throw new DraftRefused(file.reason)
  say(`loading ${name}`, null)
  const model = await openModel(join(request.scratch, file.file)).catch((error: unknown) => {
    throw new DraftRefused(loadReason(name, error))
  })
  try {
    say(`running ${name}`, null)
    const sample =
      request.sample === null ? null : await draftColumns(request.sample.file, () => {})
    return { ...(await describe(request, { file, model, sample })), files }
  } finally {
    await model.release()
  }
}

/** The model and its weights, where a copy without ZipMap may be written beside them. */
async function copyFiles({ model, scratch }: ModelRequest): Promise<string[]> {
  const name = basename(model)
  const facts = await modelFacts(model)
  if (facts.kind === 'refused') throw new DraftRefused(`${name}: ${facts.reason}`)
  const weights = facts.externalFiles.map(({ path }) => posix.normalize(path))
  for (const path of weights) {
    if (!posix.isAbsolute(path) && !path.startsWith('..')) continue
    const reason = `${name} keeps weights in "${path}", outside of its folder`
    throw new DraftRefused(`${reason}; a bundle has all its files in one`)
  }
  const files = [...new Set([name, ...weights])]
  for (const path of files) {
    const target = join(scratch, path)
    await mkdir(dirname(target), { recursive: true })
    const source = join(dirname(model), path)
    await copyFile(source, target, constants.COPYFILE_FICLONE).catch((error: unknown) => {
      throw new DraftRefused(`${name} needs the file "${path}": ${messageOf(error)}`)
    })
  }
  return files
}

interface Opened {
  readonly file: Extract<ModelFile, { kind: 'found' }>
  readonly model: Model
  readonly sample: ColumnsDraft | null
}

type Described = Omit<ModelDraft, 'files'>

async function describe(request: ModelRequest, opened: Opened): Promise<Described> {
  const { file, model, sample } = opened
  const notes: string[] = []
  const given = { ...request.endpoint, model: basename(request.model) }
  const signature: Signature = {
    model: file.file,
    inputs: withGivenRanks(model.inputs, given),
    outputs: model.outputs,
    labels: labelsFor(file.labels, given),
  }
  const isTabular = notTabular(signature.inputs) === null && given.prediction !== 'RAW'
  const features = isTabular ? featuresOf(signature.inputs, request.sample, sample) : null
  const endpoint: StdPredictionEndpoint = {
    ...given,
    ...(features === null || given.features !== undefined ? {} : { features: [...features] }),
  }
  const planned = planInputs(signature.inputs, endpoint, '')
  const first = isTabular && sample !== null ? rowOf(planned.features, sample) : null
  const queries = first === null ? {} : { testQueries: [{ q: { features: first } }] }
  const trial = await tryAsRows(model, signature, { ...endpoint, ...queries })
  const plan = planOf(signature, endpoint, trial)
  if (sample !== null && plan.kind === 'RAW') {
    notes.push('the model takes whole tensors, so the sample says nothing of its features')
  }
  const row = plan.kind === 'RAW' ? null : await answeredRow(trial, first, request)
  const classes = classesOf(plan, signature, notes)
  return {
    kind: 'model',
    prediction: plan.kind,
    classes,
    features: plan.kind === 'RAW' ? null : listed(plan, notes),
    row,
    rowOf: row !== null && row === first ? sampleName(request) : null,
    notes: [...notes, ...noRow(plan, row, trial)],
  }
}

function planOf(
  signature: Signature,
  endpoint: StdPredictionEndpoint,
  trial: RowTrial | null,
): PredictionPlan {
  const outputs = trial?.outputs ?? signature.outputs
  const planned = planPrediction({ ...signature, outputs }, endpoint, '')
  if (planned.kind === 'planned') return planned.plan
  throw new DraftRefused(
    ...planned.faults.map(({ path, reason }) => `${path.replace(/^\./, '')}: ${reason}`),
  )
}

function classesOf(
  plan: PredictionPlan,
  { labels }: Signature,
  notes: string[],
): readonly string[] | null {
  if (plan.classes.length === 0) return null
  if (labels !== null) return plan.classes
  const names = plan.classes.join(', ')
  notes.push(`the model does not name its classes: they are called ${names}; "classes" names them`)
  return null
}

/** More would make a manifest that nobody reads. */
const LISTED_MAX = 500

function listed(plan: PredictionPlan, notes: string[]): readonly ManifestFeature[] | null {
  const { features, inputs } = plan
  if (features.length > LISTED_MAX && features.every(({ name }, i) => name === `f${i}`)) {
    notes.push(`its ${features.length} features are called f0, f1 and so on`)
    return null
  }
  return features.map(({ name, type }, i) => {
    const input = inputs.find((one) => one.features.includes(i))?.name
    const isClear = inputs.length === 1 || input === undefined || input === name
    return isClear ? { name, type } : { name, type, input }
  })
}

/** The first row of the sample as callers would send it. */
function rowOf(features: readonly FeaturePlan[], { first }: ColumnsDraft): FeatureMap | null {
  if (Object.keys(first).length === 0) return null
  const cells = features.map(({ name, type }) => [name, typed(first[name] ?? null, type)] as const)
  return Object.fromEntries(cells.filter(([, value]) => value !== null))
}

function typed(cell: string | number | boolean | null, type: FeaturePlan['type']): unknown {
  if (cell === null) return null
  if (type === 'string') return String(cell)
  if (type === 'boolean') {
    const flag = truth(typeof cell === 'boolean' ? cell : String(cell))
    return flag === null ? cell : flag === 1
  }
  const number = numeric(typeof cell === 'boolean' ? Number(cell) : cell)
  return number === null || typeof number === 'bigint' ? cell : number
}

/** A row that the sample gives must be answered; one that was made up may be. */
async function answeredRow(
  trial: RowTrial | null,
  first: FeatureMap | null,
  request: ModelRequest,
): Promise<FeatureMap | null> {
  if (trial === null || first === null) return trial?.rows.accepted[0]?.row ?? null
  try {
    await trial.runner.run([first])
    return first
  } catch (error) {
    const why = shortReason(error)
    throw new DraftRefused(`the model refuses ${sampleName(request)}: ${why}`)
  }
}

function sampleName({ sample }: ModelRequest): string {
  return `the first row of ${basename(sample?.file ?? '')}`
}

function noRow(plan: PredictionPlan, row: FeatureMap | null, trial: RowTrial | null): string[] {
  if (row !== null) return []
  if (plan.kind === 'RAW') {
    return ['it is served as whole tensors (RAW); a test query of your own proves that it runs']
  }
  const said = trial?.rows.refusal ?? null
  const why = said === null ? '' : `: ${shortReason(said)}`
  return [`the model took no made-up row${why}; --sample gives it a real one`]
}
