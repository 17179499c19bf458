/**
 * A prediction endpoint whose rows are scored by the code of a bundle, in whatever language: bodies
 * in, encoded answers out. The language is behind one function that is given rows and tells what
 * became of each.
 *
 * Rows of different callers share a call only where the forge has found that they may, and a call
 * that fails is repeated row by row, so that a row which the code refuses fails alone.
 */

import { nowMs } from '../../core/base/clock.ts'
import type { CustomPredictionPlan, EndpointPlan } from '../../core/bundle/plan.ts'
import { codeScorer } from '../explanations/code-scorer.ts'
import type { Explainer } from '../explanations/explainer.ts'
import type { BatchJob, WorkerOutcome } from '../protocol.ts'
import { NO_BODY, NOT_EXPLAINED, requestBodies } from './asked.ts'
import { type CheckedRow, featureRules } from './features.ts'
import {
  FINAL,
  notRun,
  PredictionJobs,
  type RowFailed,
  type RowResult,
  type Run,
  withDump,
} from './jobs.ts'
import type { Features } from './requests.ts'
import { type CustomRow, type CustomRowEncoder, customRowEncoder, ignoredRow } from './results.ts'
import type { FeatureMap } from './values.ts'

export type CodeFailure = RowFailed

/** One entry per row, or why the whole call has failed. */
export type RowsAnswer =
  | {
      readonly kind: 'rows'
      readonly rows: readonly ({ readonly kind: 'row'; readonly row: CustomRow } | CodeFailure)[]
    }
  | CodeFailure

/** Ends soon after `endMs` (of nowMs()), whatever the code does. */
export type CallRows = (rows: readonly FeatureMap[], endMs: number) => Promise<RowsAnswer>

/** Features after the look-ups of the endpoint, one entry per row. */
export type Enrich = (rows: readonly FeatureMap[], endMs: number) => Promise<readonly Enriched[]>

export type Enriched =
  | {
      readonly kind: 'row'
      readonly features: FeatureMap
      /** JSON text that the answer is to hold behind its own fields, such as `,"a":1`; or ''. */
      readonly dump: string
    }
  /** Ignored: the whole `result`, as JSON text. */
  | { readonly kind: 'result'; readonly text: string }
  | CodeFailure

export type CodeExplainer = Explainer<readonly FeatureMap[]>

export interface CustomPredictorOptions {
  readonly endpoint: EndpointPlan
  readonly plan: CustomPredictionPlan
  readonly serviceId: string
  readonly generationId: string
  /** Most rows of one call. */
  readonly rowsMax: number
  readonly enrich: Enrich | null
  readonly explainer: CodeExplainer | null
  readonly call: CallRows
}

interface Slot {
  readonly index: number
  /** After look-ups, before the code's rules. */
  readonly given: FeatureMap
  readonly features: FeatureMap
  readonly dump: string
}

const TOO_LATE: CodeFailure = {
  kind: 'failed',
  code: 'ERR_DEADLINE',
  detail: 'the rest of the rows was not run',
}

export class CustomPredictor {
  readonly #options: CustomPredictorOptions
  readonly #check: (features: FeatureMap) => CheckedRow
  readonly #encode: CustomRowEncoder
  readonly #jobs: PredictionJobs

  constructor(options: CustomPredictorOptions) {
    this.#options = options
    this.#check = featureRules(options.plan.features)
    this.#encode = customRowEncoder(options.plan)
    const rows = this.#rows.bind(this)
    this.#jobs = new PredictionJobs({ ...options, rows })
  }

  /** Never throws: what goes wrong with one request is told of that request. */
  async run(job: BatchJob): Promise<WorkerOutcome> {
    if (job.verb !== 'explain') return this.#jobs.run(job)
    const { explainer, endpoint } = this.#options
    if (explainer === null) return NOT_EXPLAINED
    const rowsMax = endpoint.explanations?.run?.rowsMax ?? this.#options.rowsMax
    return explainer.run(job, {
      parse: () => requestBodies(job)[0] ?? NO_BODY,
      predict: (item, endMs) => this.#jobs.predict(item, endMs),
      scorer: codeScorer({ ...this.#options, rowsMax, features: explainer.background.features }),
    })
  }

  async #rows(rows: readonly Features[], run: Run): Promise<RowResult[]> {
    const results = new Array<RowResult>(rows.length)
    const slots = await this.#prepare(rows, results, run)
    const { rowsMax } = this.#options
    for (let start = 0; start < slots.length; start += rowsMax) {
      await this.#runChunk(slots.slice(start, start + rowsMax), results, run)
    }
    return results
  }

  /** Fills in what rows get that are not run. */
  async #prepare(rows: readonly Features[], results: RowResult[], run: Run): Promise<Slot[]> {
    const slots: Slot[] = []
    for (const [index, row] of rows.entries()) {
      if (row.kind !== 'features') results[index] = notRun(row)
      else slots.push({ index, given: row.features, features: row.features, dump: '' })
    }
    const checked: Slot[] = []
    for (const slot of await this.#enriched(slots, results, run)) {
      const row = this.#check(slot.given)
      if (row.kind === 'row') checked.push({ ...slot, features: row.features })
      else if (row.kind === 'ignore') results[slot.index] = ignoredRow(row.detail)
      else results[slot.index] = { kind: 'failed', code: 'ERR_FEATURE_INVALID', detail: row.detail }
    }
    return checked
  }

  async #enriched(slots: readonly Slot[], results: RowResult[], run: Run): Promise<Slot[]> {
    const { enrich } = this.#options
    if (enrich === null || slots.length === 0) return [...slots]
    const enriched: Slot[] = []
    const answers = await enrich(
      slots.map(({ features }) => features),
      run.endMs,
    )
    for (const [at, { index }] of slots.entries()) {
      const answer = answers[at] ?? TOO_LATE
      if (answer.kind === 'row') {
        const { features, dump } = answer
        enriched.push({ index, given: features, features, dump })
      } else results[index] = answer.kind === 'result' ? answer.text : answer
    }
    return enriched
  }

  async #runChunk(chunk: readonly Slot[], results: RowResult[], run: Run): Promise<void> {
    const startMs = nowMs()
    const answer: RowsAnswer =
      startMs > run.endMs
        ? TOO_LATE
        : await this.#options.call(
            chunk.map(({ features }) => features),
            run.endMs,
          )
    run.predictionMs += nowMs() - startMs
    if (answer.kind === 'rows') {
      for (const [at, slot] of chunk.entries())
        results[slot.index] = this.#result(slot, answer.rows[at], run)
      return
    }
    if (chunk.length === 1 || FINAL.has(answer.code)) {
      for (const { index } of chunk) results[index] = answer
    } else for (const slot of chunk) await this.#runChunk([slot], results, run)
  }

  #result(slot: Slot, row: RowsOf[number] | undefined, { seen }: Run): RowResult {
    if (row === undefined) return answerInvalid('the code answered fewer rows than it was given')
    if (row.kind === 'failed') return row
    const encoded = this.#encode(row.row, slot.given)
    if (encoded.kind === 'refused') return answerInvalid(encoded.reason)
    if (seen !== null && encoded.kind === 'result') {
      Object.assign(seen, { features: slot.features, dump: slot.dump, output: encoded.output })
    }
    return withDump(encoded.text, slot.dump)
  }
}

type RowsOf = Extract<RowsAnswer, { kind: 'rows' }>['rows']

function answerInvalid(detail: string): CodeFailure {
  return { kind: 'failed', code: 'ERR_ANSWER_INVALID', detail }
}
