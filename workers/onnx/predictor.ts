/**
 * One prediction endpoint in one thread: bodies in, encoded answers out.
 *
 * Rows of different callers share a run only where the forge has proven that they do not see each
 * other (`plan.batchable`). A row that is refused or fails does so alone: its neighbours are run.
 */

import { nowMs } from '../../core/base/clock.ts'
import { messageOf } from '../../core/base/errors.ts'
import type { OnnxEndpointPlan, PredictionPlan } from '../../core/bundle/plan.ts'
import type { Explainer } from '../explanations/explainer.ts'
import { type HeldTensors, onnxScorer } from '../explanations/onnx-scorer.ts'
import type { Predicts } from '../explanations/types.ts'
import type { Enricher } from '../lookup/enrich.ts'
import { shown } from '../messages.ts'
import { NO_BODY, NOT_EXPLAINED, requestBodies } from '../predictions/asked.ts'
import {
  notRun,
  PredictionJobs,
  type RowFailed,
  type RowResult,
  type Run,
  withDump,
} from '../predictions/jobs.ts'
import type { Features } from '../predictions/requests.ts'
import { ignoredRow } from '../predictions/results.ts'
import type { BatchJob, WorkerOutcome } from '../protocol.ts'
import { QuickRow, RowReader } from '../quick-rows/row-reader.ts'
import { answerMaker, fetchesOf, type ResultEncoder } from './answers.ts'
import { Columns } from './columns.ts'
import { type FormsContext, openServed } from './served-model.ts'
import type { Model } from './session.ts'
import { decodeTensors, encodeTensors, TensorRefused } from './tensors.ts'

interface Generation {
  readonly serviceId: string
  readonly generationId: string
}

export interface PredictorOptions extends Generation {
  /** Adds features to rows before they are scored; released with the predictor. */
  readonly enricher?: Enricher | null
  readonly explainer?: Explainer<HeldTensors> | null
  /** Absent: the model is loaded as it is in the bundle. */
  readonly forms?: FormsContext
}

/** All callers of this job have had their answer by now: that their time is up. */
class TooLate extends Error {}

const NO_FORMS: FormsContext = { compiled: null, checked: {}, log: () => {} }

export async function openPredictor(
  directory: string,
  options: PredictorOptions,
  plan: OnnxEndpointPlan,
): Promise<Predictor> {
  const model = await openServed(directory, plan.prediction, options.forms ?? NO_FORMS)
  return new Predictor(model, plan, options)
}

export class Predictor {
  readonly #model: Model
  readonly #plan: PredictionPlan
  readonly #rowsMax: number
  readonly #columns: Columns
  readonly #fetches: readonly string[]
  readonly #encoderOf: ReturnType<typeof answerMaker>
  readonly #jobs: PredictionJobs
  readonly #reader: RowReader | null
  readonly #enricher: Enricher | null
  readonly #explain: ((job: BatchJob) => Promise<WorkerOutcome>) | null
  #turn: Promise<unknown> = Promise.resolve()

  constructor(model: Model, endpoint: OnnxEndpointPlan, options: PredictorOptions) {
    this.#enricher = options.enricher ?? null
    this.#model = model
    this.#plan = endpoint.prediction
    this.#rowsMax = endpoint.prediction.batchable ? endpoint.prediction.maxRows : 1
    this.#columns = new Columns(endpoint.prediction, this.#rowsMax)
    this.#fetches = fetchesOf(endpoint.prediction)
    this.#encoderOf = answerMaker(endpoint.prediction)
    const { serviceId, generationId } = options
    const rows = this.#rows.bind(this)
    this.#reader = this.#enricher === null ? readerOf(endpoint, this.#columns) : null
    const reader = this.#reader
    this.#jobs = new PredictionJobs({ endpoint, serviceId, generationId, rows, reader })
    const rowsMax = endpoint.explanations?.run?.rowsMax ?? this.#rowsMax
    this.#explain = this.#explaining(options.explainer ?? null, rowsMax)
  }

  async release(): Promise<void> {
    await this.#enricher?.release()
    await this.#model.release()
  }

  /** Never throws: what goes wrong with one request is told of that request. */
  async run(job: BatchJob): Promise<WorkerOutcome> {
    try {
      if (job.verb !== 'explain') return await this.#jobs.run(job)
      return (await this.#explain?.(job)) ?? NOT_EXPLAINED
    } catch (error) {
      return tooLate(error)
    }
  }

  #explaining(explainer: Explainer<HeldTensors> | null, rowsMax: number) {
    const scorer = explainer === null ? null : onnxScorer(this.#model, this.#plan, rowsMax)
    if (explainer === null || scorer === null) return null
    const predict: Predicts<HeldTensors>['predict'] = (item, endMs) =>
      this.#jobs.predict(item, endMs).catch(tooLate)
    return (job: BatchJob): Promise<WorkerOutcome> => {
      const parse: Predicts<HeldTensors>['parse'] = () => requestBodies(job)[0] ?? NO_BODY
      return explainer.run(job, { parse, predict, scorer })
    }
  }

  #rows(rows: readonly Features[], run: Run): Promise<RowResult[]> {
    if (this.#enricher === null) return this.#score(rows, run)
    return this.#enriched(rows, run, this.#enricher)
  }

  /** Scores the rows that got their features; the others have their answer already. */
  async #enriched(rows: readonly Features[], run: Run, enricher: Enricher): Promise<RowResult[]> {
    const results = new Array<RowResult>(rows.length)
    const asked = [...rows.entries()].flatMap(([index, row]) =>
      row.kind === 'features' ? [{ index, features: row.features }] : [],
    )
    for (const [index, row] of rows.entries()) {
      if (row.kind !== 'features') results[index] = notRun(row)
    }
    const answers = await enricher.run(
      asked.map(({ features }) => features),
      run.endMs,
    )
    const ready: { readonly index: number; readonly dump: string }[] = []
    const scored: Features[] = []
    for (const [at, { index }] of asked.entries()) {
      const answer = answers[at]
      if (answer === undefined) throw new TooLate()
      if (answer.kind === 'row') {
        ready.push({ index, dump: answer.dump })
        scored.push({ kind: 'features', features: answer.features })
      } else results[index] = answer.kind === 'result' ? answer.text : answer
    }
    const texts = await this.#alone(() => this.#score(scored, run))
    for (const [at, { index, dump }] of ready.entries()) {
      const result = texts[at] ?? ''
      results[index] = typeof result === 'string' ? withDump(result, dump) : result
      if (run.seen !== null) run.seen.dump = dump
    }
    return results
  }

  /** Jobs that wait for look-ups overlap; the buffers of the model's inputs must not. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => {})
    return done
  }

  async #score(rows: readonly Features[], run: Run): Promise<RowResult[]> {
    const results = new Array<RowResult>(rows.length)
    if (this.#plan.kind === 'RAW') {
      for (let i = 0; i < rows.length; i++) results[i] = await this.#raw(rows[i], run)
      return results
    }
    const scoring: Scoring = { rows, results, run }
    let chunk: number[] = []
    for (let i = 0; i < rows.length; i++) {
      const refused = this.#fill(rows[i], chunk.length)
      if (refused === null) chunk.push(i)
      else results[i] = refused
      if (chunk.length < this.#rowsMax && i < rows.length - 1) continue
      await this.#runChunk(chunk, scoring)
      chunk = []
    }
    return results
  }

  /** Puts a row into the input buffers; null, or the answer of a row that is not run. */
  #fill(row: Features | undefined, at: number): RowResult | null {
    if (row?.kind !== 'features') return notRun(row)
    const reader = this.#reader
    const isIn = row instanceof QuickRow && reader !== null
    if (isIn && this.#columns.fillNumbers(reader.values, row.at, at)) return null
    const problem = this.#columns.fill(row.features, at)
    if (problem === null) return null
    if (problem.kind === 'ignore') return ignoredRow(problem.detail)
    return { kind: 'failed', code: 'ERR_FEATURE_INVALID', detail: problem.detail }
  }

  async #runChunk(chunk: readonly number[], scoring: Scoring): Promise<void> {
    if (chunk.length === 0) return
    const { rows, results, run } = scoring
    try {
      const encoder = await this.#runRows(chunk.length, run)
      for (let k = 0; k < chunk.length; k++) {
        const index = chunk[k] ?? 0
        const row = rows[index]
        if (row?.kind !== 'features') continue
        results[index] = encoder.text(k, row)
        if (run.seen === null) continue
        run.seen.features = row.features
        run.seen.output = encoder.output(k)
      }
    } catch (error) {
      if (error instanceof TooLate) throw error
      if (chunk.length === 1) results[chunk[0] ?? 0] = inferenceFailure(error)
      else await this.#oneByOne(chunk, scoring)
    }
  }

  /** A run failed: each row is tried alone, so that only the one that the model refuses fails. */
  async #oneByOne(chunk: readonly number[], scoring: Scoring): Promise<void> {
    for (const index of chunk) {
      const refused = this.#fill(scoring.rows[index], 0)
      if (refused === null) await this.#runChunk([index], scoring)
      else scoring.results[index] = refused
    }
  }

  async #runRows(rows: number, run: Run): Promise<ResultEncoder> {
    const startMs = startRun(run)
    try {
      const outputs = await this.#model.run(this.#columns.feeds(rows), this.#fetches)
      return this.#encoderOf(outputs, rows)
    } finally {
      run.predictionMs += nowMs() - startMs
    }
  }

  async #raw(row: Features | undefined, run: Run): Promise<RowResult> {
    if (row?.kind !== 'features') return notRun(row)
    try {
      const feeds = decodeTensors(row.features, this.#plan.inputs)
      const startMs = startRun(run)
      const outputs = await this.#model.run(feeds)
      run.predictionMs += nowMs() - startMs
      return encodeTensors(outputs, this.#plan.outputs)
    } catch (error) {
      if (error instanceof TooLate) throw error
      if (!(error instanceof TensorRefused)) return inferenceFailure(error)
      return { kind: 'failed', code: 'ERR_TENSOR_INVALID', detail: error.message }
    }
  }
}

/** Null: its rows hold more than numbers, or its callers may be sent on without asking for it. */
function readerOf({ prediction, explanations }: OnnxEndpointPlan, columns: Columns) {
  const names = prediction.kind === 'RAW' ? null : columns.numbers
  const isPlain = explanations?.enabled !== true
  return names !== null && names.length > 0 && isPlain ? new RowReader(names) : null
}

interface Scoring {
  readonly rows: readonly Features[]
  readonly results: RowResult[]
  readonly run: Run
}

/** Before each run, so that rows nobody waits for any more do not keep the thread. */
function startRun({ endMs }: Run): number {
  const startMs = nowMs()
  if (startMs > endMs) throw new TooLate()
  return startMs
}

function tooLate(error: unknown): RowFailed {
  if (!(error instanceof TooLate)) throw error
  return { kind: 'failed', code: 'ERR_DEADLINE', detail: 'the rest of the rows was not run' }
}

function inferenceFailure(error: unknown): RowFailed {
  return { kind: 'failed', code: 'ERR_INFERENCE', detail: shown(messageOf(error)) }
}
