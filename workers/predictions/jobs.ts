/**
 * A batch of predict or predict-multi, whatever predicts: bodies in, encoded answers out. What is
 * asked beside the rows (another generation, explanations) is settled here; how rows are scored is
 * behind one function.
 */

import { nowMs } from '../../core/base/clock.ts'
import type { ErrorCode } from '../../core/base/errors.ts'
import type { EndpointPlan } from '../../core/bundle/plan.ts'
import type { Predicted } from '../explanations/types.ts'
import type { BatchJob, RowFailure, WorkerOutcome } from '../protocol.ts'
import type { QuickRows, RowReader } from '../quick-rows/row-reader.ts'
import { type Body, sortBodies } from './asked.ts'
import { endOfWaiting, envelopeTail, milliseconds, timingHead } from './envelope.ts'
import { type Features, featuresOf, itemsOf } from './requests.ts'
import { rowInPlace } from './results.ts'
import type { FeatureMap } from './values.ts'

export interface RowFailed {
  readonly kind: 'failed'
  readonly code: ErrorCode
  readonly detail: string
  readonly status?: number
}

/** What became of one row: the JSON of its `result`, or why there is none; '' is sent on. */
export type RowResult = string | RowFailed

/** One job at work. */
export interface Run {
  /** When nobody waits any more, on the clock of nowMs(). */
  readonly endMs: number
  /** Time in the model or the code. */
  predictionMs: number
  /** What is to be known of the only row of this run; null: nobody asks. */
  readonly seen: Seen | null
}

/** Of a row that got a prediction. */
export interface Seen {
  /** As the model gets them; null: there is no prediction. */
  features: FeatureMap | null
  /** JSON text behind the fields of the prediction. */
  dump: string
  /** Index of the class that the model predicts, where there are more than two; else 0. */
  output: number
}

export interface PredictionJobOptions {
  readonly endpoint: EndpointPlan
  readonly serviceId: string
  readonly generationId: string
  /** One result per row; may reject when it is too late for all of them. */
  readonly rows: (rows: readonly Features[], run: Run) => Promise<RowResult[]>
  /** Reads bodies that hold nothing but numbers; absent: each is parsed. */
  readonly reader?: RowReader | null
}

/** The code is not asked again for the others: nobody waits any more, or nobody is there. */
export const FINAL: ReadonlySet<ErrorCode> = new Set(['ERR_CHILD_LOST', 'ERR_DEADLINE'])

export class PredictionJobs {
  readonly #options: PredictionJobOptions
  readonly #tail: string

  constructor(options: PredictionJobOptions) {
    this.#options = options
    this.#tail = envelopeTail(options.endpoint, options)
  }

  async run(job: BatchJob): Promise<WorkerOutcome> {
    const { endpoint } = this.#options
    const startMs = nowMs()
    const run: Run = {
      endMs: endOfWaiting(job, endpoint.timeoutMs, startMs),
      predictionMs: 0,
      seen: null,
    }
    const { generationId, reader = null } = this.#options
    const { bodies, reroutes } = sortBodies(job, { plan: endpoint, generationId, reader })
    const answers =
      job.verb === 'single' ? await this.#single(bodies, run) : await this.#multi(bodies, run)
    const outcome = this.#outcome(job, answers, nowMs() - startMs, run)
    if (reroutes.length === 0) return outcome
    return { ...outcome, reroutes, ...(job.lent === true ? { returned: job.bytes } : {}) }
  }

  /** The plain prediction of one item of a body, with what an explanation of it needs. */
  async predict(item: unknown, endMs: number): Promise<Predicted> {
    const seen: Seen = { features: null, dump: '', output: 0 }
    const run: Run = { endMs, predictionMs: 0, seen }
    const [result] = await this.#options.rows([featuresOf(item)], run)
    if (result === undefined) return { kind: 'failed', code: 'ERR_INTERNAL', detail: '' }
    if (typeof result !== 'string') return result
    const { features, dump, output } = seen
    if (features === null) return { kind: 'ignored', text: result }
    const insertAt = result.length - 1 - dump.length - NOT_IGNORED.length
    return { kind: 'predicted', text: result, insertAt, features, output }
  }

  #outcome(job: BatchJob, answers: readonly RowResult[], ...[totalMs, run]: [number, Run]) {
    const [open, close] = job.verb === 'single' ? ['{"result":', ''] : ['{"results":[', ']']
    const preparation = milliseconds(totalMs - run.predictionMs)
    const times = `,"preparation":${preparation},"prediction":${milliseconds(run.predictionMs)}`
    const tail = times + this.#tail
    const bodies = new Array<string>(answers.length)
    const failures: RowFailure[] = []
    for (let index = 0; index < answers.length; index++) {
      const answer = answers[index] ?? ''
      if (typeof answer !== 'string') {
        const { code, detail, status } = answer
        failures.push({ index, code, detail, ...(status === undefined ? {} : { status }) })
      }
      const isAnswer = typeof answer === 'string' && answer !== ELSEWHERE
      bodies[index] = isAnswer ? `${open}${answer}${close}${timingHead(job, index)}${tail}` : ''
    }
    const executeUs = Math.round(totalMs * 1_000)
    return {
      kind: 'answers',
      bodies,
      failures: failures.length > 0 ? failures : null,
      executeUs,
    } as const
  }

  /** One row per body; rows of all bodies go together. */
  #single(bodies: readonly Body[], run: Run): Promise<RowResult[]> {
    const rows = bodies.map((body) => (body.kind === 'rows' ? body.row(0) : rowOf(body)))
    return this.#options.rows(rows, run)
  }

  /** Many rows per body; rows of different bodies never share a run, so one may not delay all. */
  async #multi(bodies: readonly Body[], run: Run): Promise<RowResult[]> {
    const answers: RowResult[] = []
    for (const body of bodies) {
      const items = rowsOf(body)
      if ('kind' in items) {
        answers.push(notRun(items))
        continue
      }
      const results = await this.#options.rows(items, run)
      const final = results.find((result) => typeof result !== 'string' && FINAL.has(result.code))
      answers.push(final ?? inPlace(results))
    }
    return answers
  }
}

function rowOf(body: Exclude<Body, QuickRows>): Features {
  return body.kind === 'value' ? featuresOf(body.value) : body
}

function rowsOf(body: Body): readonly Features[] | Exclude<Features, { kind: 'features' }> {
  if (body.kind === 'rows') return Array.from({ length: body.rows }, (_, row) => body.row(row))
  const items = body.kind === 'value' ? itemsOf(body.value) : body
  return 'kind' in items ? items : items.map(featuresOf)
}

/** What every prediction ends with, and no ignored row. */
const NOT_IGNORED = ',"ignored":false'

/** Of a body without rows there is nothing to join, which is not the same as being sent on. */
const NO_ROWS = ' '

function inPlace(results: readonly RowResult[]): string {
  const texts = results.map((row) => (typeof row === 'string' ? row : rowInPlace(row)))
  return texts.length === 0 ? NO_ROWS : texts.join(',')
}

const ELSEWHERE = ''

/** The result of a row that has no features to run it with. */
export function notRun(row: Exclude<Features, { kind: 'features' }> | undefined): RowResult {
  if (row === undefined) return { kind: 'failed', code: 'ERR_BODY_INVALID', detail: '' }
  if (row.kind === 'elsewhere') return ELSEWHERE
  return { kind: 'failed', code: row.code ?? 'ERR_BODY_INVALID', detail: row.reason }
}

/** Behind the fields of a prediction. */
export function withDump(text: string, dump: string): string {
  return dump === '' ? text : `${text.slice(0, -1)}${dump}}`
}
