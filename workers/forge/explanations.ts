/**
 * Settles how an endpoint explains its predictions: reads the background sample of the bundle, has
 * every row of it scored by what will serve, and writes rows and scores for the threads.
 */

import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { nowMs } from '../../core/base/clock.ts'
import { AppError } from '../../core/base/errors.ts'
import { MADE_FOLDER } from '../../core/bundle/content.ts'
import type { ExplanationPlan, ExplanationRun } from '../../core/bundle/depth-plan.ts'
import type { ManifestExplanations } from '../../core/bundle/explanation-schema.ts'
import type { FeaturePlan } from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { type Background, rowsOf } from '../explanations/background.ts'
import { MixedRows } from '../explanations/mixed-rows.ts'
import { readSample, type SampleFile, SampleRefused } from '../explanations/sample-file.ts'
import { isRefused } from '../explanations/slice.ts'
import type { Scorer } from '../explanations/types.ts'
import type { FeatureMap } from '../predictions/values.ts'
import { largerRuns } from './explanation-runs.ts'
import type { EndpointForged, EndpointRefused, EndpointTask, Of } from './task.ts'

type PredictionTask = EndpointTask<
  Of<'STD_PREDICTION' | 'CUSTOM_PREDICTION' | 'CUSTOM_R_PREDICTION'>
>

type Forged = Extract<EndpointForged, { kind: 'forged' }>

/** Most time for scoring; a part of a random sample is one, too. */
const SCORING_MS = 20_000
/** Of more rows only the number is told. */
const FAULTS_MAX = 20

/** What `scorer` is made for; features: null where the endpoint declares none. */
interface Explaining<Held> {
  readonly features: readonly FeaturePlan[] | null
  /** Null where no number says what the model thinks; `rowsMax` is that of a batch if absent. */
  readonly scorer: (features: readonly string[], rowsMax?: number) => Scorer<Held> | null
  /** The manifest has not named the size of batches, and nothing has made them smaller. */
  readonly mayBeLarger: boolean
}

/** The forged endpoint with its explanations, where it has some. */
export async function withExplanations<Held>(
  task: PredictionTask,
  forged: Forged,
  explaining: Explaining<Held>,
): Promise<EndpointForged> {
  const { explanations } = task.endpoint
  if (explanations === undefined) return forged
  const file = explanations.background
  task.say('testing', `endpoint ${task.endpoint.id}: background sample ${file}`)
  try {
    refuseLarge(task.files.get(file) ?? 0)
    const sample = await readSample(join(task.directory, file), explaining.features)
    const scorer = explaining.scorer(sample.features)
    if (scorer === null) return refused(`${task.path}.explanations`, [NO_NUMBER])
    const scored = await scoreSample(sample, scorer)
    const run = await runsOf(scored, scorer, explaining)
    const made = `${MADE_FOLDER}/background/${task.endpoint.id}.json`
    const plan = { ...planOf(explanations, made), ...(run === undefined ? {} : { run }) }
    await mkdir(dirname(join(task.directory, plan.background)), { recursive: true })
    await writeFile(join(task.directory, plan.background), JSON.stringify(scored))
    return {
      kind: 'forged',
      plan: { ...forged.plan, explanations: plan },
      report: { ...forged.report, backgroundRows: scored.rows.length },
    }
  } catch (error) {
    const where = `${task.path}.explanations.background`
    const reasons = reasonsOf(error).map((reason) => `${file} ${reason}`)
    return refused(where, reasons)
  }
}

const NO_NUMBER =
  'the model answers labels or whole tensors: only a probability or a value can be explained'

function reasonsOf(error: unknown): readonly string[] {
  if (error instanceof SampleRefused) return [error.message]
  if (error instanceof RowsRefused) return error.reasons
  throw error
}

class RowsRefused extends Error {
  readonly reasons: readonly string[]

  constructor(reasons: readonly string[]) {
    super(reasons[0] ?? '')
    this.reasons = reasons
  }
}

function refused(path: string, reasons: readonly string[]): EndpointRefused {
  const faults = reasons.map((reason) => ({ path, reason }))
  return { kind: 'refused', code: 'ERR_BUNDLE_INVALID', faults }
}

function refuseLarge(bytes: number): void {
  if (bytes <= LIMITS.backgroundBytesMax) return
  throw new SampleRefused(`has ${bytes} bytes, at most ${LIMITS.backgroundBytesMax} are allowed`)
}

function planOf(given: ManifestExplanations, background: string): ExplanationPlan {
  return {
    enabled: given.enabled ?? false,
    method: given.method ?? 'SHAPLEY',
    nExplanations: given.nExplanations ?? 3,
    nMonteCarloSteps: given.nMonteCarloSteps ?? 100,
    background,
  }
}

async function runsOf<Held>(
  scored: Background,
  { rowsMax: from }: Scorer<Held>,
  { scorer, mayBeLarger }: Explaining<Held>,
): Promise<ExplanationRun | undefined> {
  if (!mayBeLarger) return undefined
  const fitting = Math.floor(LIMITS.explanationValuesMax / Math.max(1, scored.features.length))
  const to = Math.min(LIMITS.explanationRowsMax, fitting)
  return largerRuns(scored, (rowsMax) => scorer(scored.features, rowsMax), { from, to })
}

async function scoreSample<Held>(
  { features, rows }: SampleFile,
  scorer: Scorer<Held>,
): Promise<Background> {
  const cells = rows.map((row) => row.cells)
  const maps = rowsOf({ features, rows: cells, scores: [] })
  refuseRows(maps, (row) => scorer.hold([row]), rows)
  const scores: number[][] = []
  const endMs = nowMs() + SCORING_MS
  while (scores.length < maps.length && (scores.length === 0 || nowMs() < endMs)) {
    const some = maps.slice(scores.length, scores.length + scorer.rowsMax)
    const places = rows.slice(scores.length).map(({ place }) => place)
    scores.push(...(await scoreTogether(some, scorer, places)))
  }
  return { features, rows: cells.slice(0, scores.length), scores }
}

function refuseRows(
  maps: readonly FeatureMap[],
  hold: (row: FeatureMap) => unknown,
  rows: SampleFile['rows'],
): void {
  const reasons: string[] = []
  for (const [i, map] of maps.entries()) {
    const held = hold(map)
    if (isRefused(held)) reasons.push(`${rows[i]?.place ?? ''}: ${held.detail}`)
  }
  if (reasons.length === 0) return
  const more = reasons.length - FAULTS_MAX
  throw new RowsRefused([
    ...reasons.slice(0, FAULTS_MAX),
    ...(more > 0 ? [`has ${more} more rows that cannot be scored`] : []),
  ])
}

/** Where rows together fail, the one to blame is looked for. */
async function scoreTogether<Held>(
  maps: readonly FeatureMap[],
  scorer: Scorer<Held>,
  places: readonly string[],
): Promise<number[][]> {
  try {
    return await scoreRun(maps, scorer)
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    if (maps.length === 1) throw new RowsRefused([`${places[0] ?? ''}: ${error.detail ?? ''}`])
  }
  const scores: number[][] = []
  for (const [i, map] of maps.entries()) {
    scores.push(...(await scoreTogether([map], scorer, places.slice(i, i + 1))))
  }
  return scores
}

async function scoreRun<Held>(
  maps: readonly FeatureMap[],
  { features, outputs, hold, score }: Scorer<Held>,
): Promise<number[][]> {
  const background = hold(maps)
  const explained = hold(maps.slice(0, 1))
  if (isRefused(background)) throw new AppError('ERR_FEATURE_INVALID', background.detail)
  if (isRefused(explained)) throw new AppError('ERR_FEATURE_INVALID', explained.detail)
  const rows = new MixedRows(maps.length, features.length)
  for (const i of maps.keys()) rows.start(i + 1)
  const mixture = { rows, explained, background }
  const scored = await score(mixture, nowMs() + LIMITS.hangMs)
  const scores = scored.subarray(0, maps.length * outputs)
  if (!scores.every(Number.isFinite)) {
    throw new AppError('ERR_INFERENCE', 'the model gave no finite score')
  }
  return maps.map((_, i) => [...scores.subarray(i * outputs, (i + 1) * outputs)])
}
