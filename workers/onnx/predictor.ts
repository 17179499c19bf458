/**
 * One prediction endpoint in one thread: bodies in, encoded answers out.
 *
 * Rows of different callers share a run only where the forge has proven that they do not see each
 * other (`plan.batchable`). A row that is refused or fails does so alone: its neighbours are run.
 */

import { join } from 'node:path'
import { nowMs } from '../../core/base/clock.ts'
import { messageOf } from '../../core/base/errors.ts'
import type { OnnxEndpointPlan, PredictionPlan } from '../../core/bundle/plan.ts'
import { type Parsed, parseBodies } from '../bodies.ts'
import type { Enricher } from '../lookup/enrich.ts'
import { shown } from '../messages.ts'
import { envelopeTail, milliseconds } from '../predictions/envelope.ts'
import { type Features, featuresOf, itemsOf } from '../predictions/requests.ts'
import { ignoredRow, rowInPlace } from '../predictions/results.ts'
import type { BatchJob, RowFailure, WorkerOutcome } from '../protocol.ts'
import { answerMaker, fetchesOf, type ResultEncoder } from './answers.ts'
import { Columns } from './columns.ts'
import { type Model, openModel } from './session.ts'
import { decodeTensors, encodeTensors, TensorRefused } from './tensors.ts'

interface Generation {
  readonly serviceId: string
  readonly generationId: string
}

export interface PredictorOptions extends Generation {
  /** Adds features to rows before they are scored; released with the predictor. */
  readonly enricher?: Enricher | null
}

/** What became of one row: the JSON of its `result`, or why there is none. */
type RowResult = string | RowFailure

/** All callers of this job have had their answer by now: that their time is up. */
class TooLate extends Error {}

export async function openPredictor(
  directory: string,
  options: PredictorOptions,
  plan: OnnxEndpointPlan,
): Promise<Predictor> {
  const model = await openModel(join(directory, plan.prediction.model))
  return new Predictor(model, plan, options)
}

export class Predictor {
  readonly #model: Model
  readonly #plan: PredictionPlan
  readonly #rowsMax: number
  readonly #columns: Columns
  readonly #fetches: readonly string[]
  readonly #encoderOf: ReturnType<typeof answerMaker>
  readonly #tail: string
  readonly #timeoutMs: number
  readonly #enricher: Enricher | null
  #runMs = 0
  #endMs = 0

  constructor(model: Model, plan: OnnxEndpointPlan, generation: PredictorOptions) {
    this.#enricher = generation.enricher ?? null
    this.#model = model
    this.#plan = plan.prediction
    this.#rowsMax = plan.prediction.batchable ? plan.prediction.maxRows : 1
    this.#columns = new Columns(plan.prediction, this.#rowsMax)
    this.#fetches = fetchesOf(plan.prediction)
    this.#encoderOf = answerMaker(plan.prediction)
    this.#tail = envelopeTail(plan, generation)
    this.#timeoutMs = plan.timeoutMs
  }

  async release(): Promise<void> {
    await this.#enricher?.release()
    await this.#model.release()
  }

  /** Never throws: what goes wrong with one request is told of that request. */
  async run(job: BatchJob): Promise<WorkerOutcome> {
    const startMs = nowMs()
    this.#runMs = 0
    this.#endMs = startMs + this.#timeoutMs
    const parsed = parseBodies(job.bytes, job.ends)
    try {
      const answers = job.verb === 'single' ? await this.#single(parsed) : await this.#multi(parsed)
      return this.#outcome(job, answers, nowMs() - startMs)
    } catch (error) {
      if (!(error instanceof TooLate)) throw error
      return { kind: 'failed', code: 'ERR_DEADLINE', detail: 'the rest of the rows was not run' }
    }
  }

  /** Before each run, so that rows nobody waits for any more do not keep the thread. */
  #startRun(): number {
    const startMs = nowMs()
    if (startMs > this.#endMs) throw new TooLate()
    return startMs
  }

  #outcome(job: BatchJob, answers: readonly RowResult[], totalMs: number): WorkerOutcome {
    const head = job.verb === 'single' ? '{"result":' : '{"results":['
    const close = job.verb === 'single' ? '' : ']'
    const preparation = milliseconds(totalMs - this.#runMs)
    const times = `"preparation":${preparation},"prediction":${milliseconds(this.#runMs)}`
    const tail = `,${times}${this.#tail}`
    const bodies = new Array<string>(answers.length)
    const failures: RowFailure[] = []
    for (let i = 0; i < answers.length; i++) {
      const answer = answers[i] ?? ''
      const wait = milliseconds((job.waitUs[i] ?? 0) / 1_000)
      if (typeof answer === 'string') {
        bodies[i] = `${head}${answer}${close},"timing":{"wait":${wait}${tail}`
      } else {
        bodies[i] = ''
        failures.push(answer)
      }
    }
    const executeUs = Math.round(totalMs * 1_000)
    return { kind: 'answers', bodies, failures: failures.length > 0 ? failures : null, executeUs }
  }

  /** One row per body; rows of all bodies run together, up to rowsMax at once. */
  #single(parsed: readonly Parsed[]): Promise<RowResult[]> {
    return this.#rows(parsed.map((body) => (body.kind === 'value' ? featuresOf(body.value) : body)))
  }

  /** Many rows per body; rows of different bodies never share a run, so one may not delay all. */
  async #multi(parsed: readonly Parsed[]): Promise<RowResult[]> {
    const answers: RowResult[] = []
    for (const [index, body] of parsed.entries()) {
      const items = body.kind === 'value' ? itemsOf(body.value) : body
      if ('kind' in items) {
        answers.push({ index, code: 'ERR_BODY_INVALID', detail: items.reason })
        continue
      }
      const results = await this.#rows(items.map(featuresOf))
      answers.push(
        results.map((row) => (typeof row === 'string' ? row : rowInPlace(row))).join(','),
      )
    }
    return answers
  }

  #rows(rows: readonly Features[]): Promise<RowResult[]> {
    return this.#enricher === null ? this.#score(rows) : this.#enriched(rows, this.#enricher)
  }

  /** Scores the rows that got their features; the others have their answer already. */
  async #enriched(rows: readonly Features[], enricher: Enricher): Promise<RowResult[]> {
    const results = new Array<RowResult>(rows.length)
    const asked = [...rows.entries()].flatMap(([index, row]) =>
      row.kind === 'features' ? [{ index, features: row.features }] : [],
    )
    for (const [index, row] of rows.entries()) {
      if (row.kind === 'refused') results[index] = bodyInvalid(index, row.reason)
    }
    const answers = await enricher.run(
      asked.map(({ features }) => features),
      this.#endMs,
    )
    const ready: { readonly index: number; readonly dump: string }[] = []
    const scored: Features[] = []
    for (const [at, { index }] of asked.entries()) {
      const answer = answers[at]
      if (answer === undefined) throw new TooLate()
      if (answer.kind === 'row') {
        ready.push({ index, dump: answer.dump })
        scored.push({ kind: 'features', features: answer.features })
      } else if (answer.kind === 'result') results[index] = answer.text
      else results[index] = { index, code: answer.code, detail: answer.detail }
    }
    for (const [at, result] of (await this.#score(scored)).entries()) {
      const { index, dump } = ready[at] ?? { index: 0, dump: '' }
      if (typeof result !== 'string') results[index] = { ...result, index }
      else results[index] = dump === '' ? result : `${result.slice(0, -1)}${dump}}`
    }
    return results
  }

  async #score(rows: readonly Features[]): Promise<RowResult[]> {
    const results = new Array<RowResult>(rows.length)
    if (this.#plan.kind === 'RAW') {
      for (let i = 0; i < rows.length; i++) results[i] = await this.#raw(rows[i], i)
      return results
    }
    let chunk: number[] = []
    for (let i = 0; i < rows.length; i++) {
      const refused = this.#fill(rows[i], chunk.length, i)
      if (refused === null) chunk.push(i)
      else results[i] = refused
      if (chunk.length < this.#rowsMax && i < rows.length - 1) continue
      await this.#runChunk(chunk, results, rows)
      chunk = []
    }
    return results
  }

  /** Puts a row into the input buffers; null, or the answer of a row that is not run. */
  #fill(row: Features | undefined, at: number, index: number): RowResult | null {
    if (row === undefined || row.kind === 'refused') {
      return bodyInvalid(index, row?.reason ?? '')
    }
    const problem = this.#columns.fill(row.features, at)
    if (problem === null) return null
    if (problem.kind === 'ignore') return ignoredRow(problem.detail)
    return { index, code: 'ERR_FEATURE_INVALID', detail: problem.detail }
  }

  async #runChunk(
    chunk: readonly number[],
    results: RowResult[],
    rows: readonly Features[],
  ): Promise<void> {
    if (chunk.length === 0) return
    try {
      const encode = await this.#runRows(chunk.length)
      for (let k = 0; k < chunk.length; k++) results[chunk[k] ?? 0] = encode(k)
    } catch (error) {
      if (error instanceof TooLate) throw error
      if (chunk.length === 1) results[chunk[0] ?? 0] = inferenceFailure(chunk[0] ?? 0, error)
      else await this.#oneByOne(chunk, results, rows)
    }
  }

  /** A run failed: each row is tried alone, so that only the one that the model refuses fails. */
  async #oneByOne(
    chunk: readonly number[],
    results: RowResult[],
    rows: readonly Features[],
  ): Promise<void> {
    for (const index of chunk) {
      const refused = this.#fill(rows[index], 0, index)
      if (refused === null) await this.#runChunk([index], results, rows)
      else results[index] = refused
    }
  }

  async #runRows(rows: number): Promise<ResultEncoder> {
    const startMs = this.#startRun()
    try {
      const outputs = await this.#model.run(this.#columns.feeds(rows), this.#fetches)
      return this.#encoderOf(outputs, rows)
    } finally {
      this.#runMs += nowMs() - startMs
    }
  }

  async #raw(row: Features | undefined, index: number): Promise<RowResult> {
    if (row === undefined || row.kind === 'refused') {
      return bodyInvalid(index, row?.reason ?? '')
    }
    try {
      const feeds = decodeTensors(row.features, this.#plan.inputs)
      const startMs = this.#startRun()
      const outputs = await this.#model.run(feeds)
      this.#runMs += nowMs() - startMs
      return encodeTensors(outputs, this.#plan.outputs)
    } catch (error) {
      if (error instanceof TooLate) throw error
      if (!(error instanceof TensorRefused)) return inferenceFailure(index, error)
      return { index, code: 'ERR_TENSOR_INVALID', detail: error.message }
    }
  }
}

function bodyInvalid(index: number, detail: string): RowFailure {
  return { index, code: 'ERR_BODY_INVALID', detail }
}

function inferenceFailure(index: number, error: unknown): RowFailure {
  return { index, code: 'ERR_INFERENCE', detail: shown(messageOf(error)) }
}
