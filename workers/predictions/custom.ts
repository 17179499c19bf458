/**
 * A prediction endpoint whose rows are scored by the code of a bundle, in whatever language: bodies
 * in, encoded answers out. The language is behind one function that is given rows and tells what
 * became of each.
 *
 * Rows of different callers share a call only where the forge has found that they may, and a call
 * that fails is repeated row by row, so that a row which the code refuses fails alone.
 */

import { nowMs } from '../../core/base/clock.ts'
import type { ErrorCode } from '../../core/base/errors.ts'
import type { CustomPredictionPlan, EndpointPlan } from '../../core/bundle/plan.ts'
import { type Parsed, parseBodies } from '../bodies.ts'
import type { BatchJob, RowFailure, WorkerOutcome } from '../protocol.ts'
import { endOfWaiting, envelopeTail, milliseconds, timingHead } from './envelope.ts'
import { type CheckedRow, featureRules } from './features.ts'
import { type Features, featuresOf, itemsOf } from './requests.ts'
import {
  type CustomRow,
  type CustomRowEncoder,
  customRowEncoder,
  ignoredRow,
  rowInPlace,
} from './results.ts'
import type { FeatureMap } from './values.ts'

export interface CodeFailure {
  readonly kind: 'failed'
  readonly code: ErrorCode
  readonly detail: string
  readonly status?: number
}

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

export interface CustomPredictorOptions {
  readonly endpoint: EndpointPlan
  readonly plan: CustomPredictionPlan
  readonly serviceId: string
  readonly generationId: string
  /** Most rows of one call. */
  readonly rowsMax: number
  readonly enrich: Enrich | null
  readonly call: CallRows
}

/** What became of one row: the JSON of its `result`, or why there is none. */
type RowResult = string | CodeFailure

interface Run {
  readonly endMs: number
  predictionMs: number
}

interface Slot {
  readonly index: number
  readonly features: FeatureMap
  readonly dump: string
}

/** The code is not asked again for the others: nobody waits any more, or nobody is there. */
const FINAL: ReadonlySet<ErrorCode> = new Set(['ERR_CHILD_LOST', 'ERR_DEADLINE'])

const TOO_LATE: CodeFailure = {
  kind: 'failed',
  code: 'ERR_DEADLINE',
  detail: 'the rest of the rows was not run',
}

export class CustomPredictor {
  readonly #options: CustomPredictorOptions
  readonly #check: (features: FeatureMap) => CheckedRow
  readonly #encode: CustomRowEncoder
  readonly #tail: string

  constructor(options: CustomPredictorOptions) {
    this.#options = options
    this.#check = featureRules(options.plan.features)
    this.#encode = customRowEncoder(options.plan)
    this.#tail = envelopeTail(options.endpoint, options)
  }

  /** Never throws: what goes wrong with one request is told of that request. */
  async run(job: BatchJob): Promise<WorkerOutcome> {
    const startMs = nowMs()
    const endMs = endOfWaiting(job, this.#options.endpoint.timeoutMs, startMs)
    const run: Run = { endMs, predictionMs: 0 }
    const parsed = parseBodies(job.bytes, job.ends)
    const answers =
      job.verb === 'single' ? await this.#single(parsed, run) : await this.#multi(parsed, run)
    return this.#outcome(job, answers, nowMs() - startMs, run)
  }

  #outcome(job: BatchJob, answers: readonly RowResult[], totalMs: number, run: Run): WorkerOutcome {
    const [open, close] = job.verb === 'single' ? ['{"result":', ''] : ['{"results":[', ']']
    const preparation = milliseconds(totalMs - run.predictionMs)
    const times = `,"preparation":${preparation},"prediction":${milliseconds(run.predictionMs)}`
    const failures: RowFailure[] = []
    const bodies = answers.map((answer, index) => {
      if (typeof answer === 'string') {
        return `${open}${answer}${close}${timingHead(job, index)}${times}${this.#tail}`
      }
      const { code, detail, status } = answer
      failures.push({ index, code, detail, ...(status === undefined ? {} : { status }) })
      return ''
    })
    const executeUs = Math.round(totalMs * 1_000)
    return { kind: 'answers', bodies, failures: failures.length > 0 ? failures : null, executeUs }
  }

  /** One row per body; rows of all bodies go together, up to rowsMax at once. */
  #single(parsed: readonly Parsed[], run: Run): Promise<RowResult[]> {
    return this.#rows(
      parsed.map((body) => (body.kind === 'value' ? featuresOf(body.value) : body)),
      run,
    )
  }

  /** Many rows per body; rows of different bodies never share a call, so one may not delay all. */
  async #multi(parsed: readonly Parsed[], run: Run): Promise<RowResult[]> {
    const answers: RowResult[] = []
    for (const body of parsed) {
      const items = body.kind === 'value' ? itemsOf(body.value) : body
      if ('kind' in items) {
        answers.push({ kind: 'failed', code: 'ERR_BODY_INVALID', detail: items.reason })
        continue
      }
      const results = await this.#rows(items.map(featuresOf), run)
      const final = results.find((result) => typeof result !== 'string' && FINAL.has(result.code))
      answers.push(
        final ?? results.map((row) => (typeof row === 'string' ? row : rowInPlace(row))).join(','),
      )
    }
    return answers
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
      if (row.kind === 'features') slots.push({ index, features: row.features, dump: '' })
      else results[index] = { kind: 'failed', code: 'ERR_BODY_INVALID', detail: row.reason }
    }
    const checked: Slot[] = []
    for (const slot of await this.#enriched(slots, results, run)) {
      const row = this.#check(slot.features)
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
        enriched.push({ index, features: answer.features, dump: answer.dump })
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
        results[slot.index] = this.#result(slot, answer.rows[at])
      return
    }
    if (chunk.length === 1 || FINAL.has(answer.code)) {
      for (const { index } of chunk) results[index] = answer
    } else for (const slot of chunk) await this.#runChunk([slot], results, run)
  }

  #result(slot: Slot, row: Extract<RowsAnswer, { kind: 'rows' }>['rows'][number] | undefined) {
    if (row === undefined) return answerInvalid('the code answered fewer rows than it was given')
    if (row.kind === 'failed') return row
    const encoded = this.#encode(row.row)
    if (encoded.kind === 'refused') return answerInvalid(encoded.reason)
    return slot.dump === '' ? encoded.text : `${encoded.text.slice(0, -1)}${slot.dump}}`
  }
}

function answerInvalid(detail: string): CodeFailure {
  return { kind: 'failed', code: 'ERR_ANSWER_INVALID', detail }
}
