/**
 * DATASET_LOOKUP: records in, columns of tables out. Both verbs answer `results`, because clients
 * read the first of them even where they asked for one record.
 *
 * Answers are put together from the JSON texts that tables hold, so no row becomes an object.
 */

import { nowMs } from '../../core/base/clock.ts'
import { isObject } from '../../core/base/json.ts'
import type { LookupEndpointPlan, LookupStep } from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { type Parsed, parseBodies } from '../bodies.ts'
import { endOfWaiting, envelopeTail, milliseconds, timingHead } from '../predictions/envelope.ts'
import type { BatchJob, RowFailure, WorkerOutcome } from '../protocol.ts'
import type { OpenRuntime, Runtime, RuntimeContext } from '../runtime.ts'
import {
  type Fields,
  type LookupFailure,
  type Lookups,
  type Outcome,
  openLookups,
} from './lookups.ts'
import { lookupReason } from './reasons.ts'

export const openLookup: OpenRuntime<LookupEndpointPlan> = async (plan, context) => {
  const lookups = await openLookups(plan.lookup.steps, context, {
    withoutKey: 'refused',
    code: 'ERR_ARGUMENT_INVALID',
    noun: 'field',
  })
  return new LookupRuntime(lookups, plan, context)
}

/** Of a step: `"name":` before each of its cells. */
type Prefixes = readonly string[]

/** The JSON of one answer's `results`, or why there is none. */
type Answer = string | LookupFailure

class LookupRuntime implements Runtime {
  readonly #lookups: Lookups
  readonly #prefixes: readonly Prefixes[]
  readonly #tail: string
  readonly #plan: LookupEndpointPlan

  constructor(lookups: Lookups, plan: LookupEndpointPlan, context: RuntimeContext) {
    this.#lookups = lookups
    this.#plan = plan
    this.#prefixes = prefixesOf(plan.lookup.steps)
    this.#tail = envelopeTail(plan, context)
  }

  release(): Promise<void> {
    return this.#lookups.close()
  }

  async run(job: BatchJob): Promise<WorkerOutcome> {
    const startMs = nowMs()
    const endMs = endOfWaiting(job, this.#plan.timeoutMs, startMs)
    const parsed = parseBodies(job.bytes, job.ends)
    const answer = job.verb === 'single' ? this.#single : this.#multi
    const answers = new Array<Answer>(parsed.length)
    // What a database answers later is waited for together.
    const later: Promise<void>[] = []
    for (const [i, body] of parsed.entries()) {
      const made = answer.call(this, body, endMs)
      if (!(made instanceof Promise)) answers[i] = made
      else later.push(made.then((settled) => this.#keep(answers, i, settled)))
    }
    if (later.length > 0) await Promise.all(later)
    return this.#outcome(job, answers, nowMs() - startMs)
  }

  #keep(answers: Answer[], index: number, answer: Answer): void {
    answers[index] = answer
  }

  #outcome(job: BatchJob, answers: readonly Answer[], totalMs: number): WorkerOutcome {
    const tail = `,"lookup":${milliseconds(totalMs)}${this.#tail}`
    const bodies = new Array<string>(answers.length)
    const failures: RowFailure[] = []
    for (let index = 0; index < answers.length; index++) {
      const answer = answers[index] ?? ''
      if (typeof answer === 'string') {
        bodies[index] = `{"results":[${answer}]${timingHead(job, index)}${tail}`
      } else {
        bodies[index] = ''
        failures.push({ index, code: answer.code, detail: answer.detail })
      }
    }
    const executeUs = Math.round(totalMs * 1_000)
    return { kind: 'answers', bodies, failures: failures.length > 0 ? failures : null, executeUs }
  }

  #single(body: Parsed, endMs: number): Answer | Promise<Answer> {
    const read = body.kind === 'value' ? fieldsOf(body.value) : invalid(body.reason)
    if (read.kind === 'failed') return read
    const outcome = this.#lookups.run(read.fields, endMs)
    return outcome instanceof Promise
      ? outcome.then((settled) => this.#encode(settled))
      : this.#encode(outcome)
  }

  #multi(body: Parsed, endMs: number): Answer | Promise<Answer> {
    const items = body.kind === 'value' ? itemsOf(body.value) : invalid(body.reason)
    if ('kind' in items) return items
    const results: (Answer | Promise<Answer>)[] = []
    let isLater = false
    for (const item of items) {
      const result = this.#single({ kind: 'value', value: item }, endMs)
      if (result instanceof Promise) isLater = true
      results.push(result)
    }
    if (isLater) return Promise.all(results).then((settled) => settled.map(inPlace).join(','))
    return results.map((result) => (result instanceof Promise ? '' : inPlace(result))).join(',')
  }

  #encode(outcome: Outcome): Answer {
    if (outcome.kind === 'failed') return outcome
    if (outcome.kind === 'ignored') {
      return `{"data":{},"ignored":true,"ignoreReason":"${outcome.reason}"}`
    }
    let text = '{"data":{'
    let between = ''
    for (let step = 0; step < this.#prefixes.length; step++) {
      const prefixes = this.#prefixes[step] ?? []
      const cells = outcome.rows[step]
      for (let i = 0; i < prefixes.length; i++) {
        text += between + (prefixes[i] ?? '') + (cells?.[i] ?? 'null')
        between = ','
      }
    }
    return `${text}}}`
  }
}

function prefixesOf(steps: readonly LookupStep[]): readonly Prefixes[] {
  return steps.map(({ columns }) => columns.map(({ as }) => `${JSON.stringify(as)}:`))
}

/** A record of lookup-multi that failed keeps its place and says why. */
function inPlace(answer: Answer): string {
  if (typeof answer === 'string') return answer
  const { code, detail } = answer
  const error = JSON.stringify({ code, message: detail })
  const reason = lookupReason(code) ?? 'INVALID_ARGUMENT'
  return `{"data":{},"ignored":true,"ignoreReason":"${reason}","error":${error}}`
}

type Read = { readonly kind: 'fields'; readonly fields: Fields } | LookupFailure

function fieldsOf(body: unknown): Read {
  if (!isObject(body)) return invalid('it must be an object such as {"data": {…}}')
  const data = Object.hasOwn(body, 'data') ? body['data'] : undefined
  if (data === undefined) return invalid('"data" is missing')
  if (!isObject(data)) return invalid('"data" must be an object, field to value')
  return { kind: 'fields', fields: data }
}

function invalid(reason: string): LookupFailure {
  return { kind: 'failed', code: 'ERR_BODY_INVALID', detail: reason }
}

function itemsOf(body: unknown): readonly unknown[] | LookupFailure {
  const items = isObject(body) && Object.hasOwn(body, 'items') ? body['items'] : undefined
  if (!Array.isArray(items)) return invalid('"items" must be an array of {"data": {…}}')
  if (items.length <= LIMITS.multiRowsMax) return items
  const most = LIMITS.multiRowsMax
  return invalid(`"items" has ${items.length} records, at most ${most} are allowed`)
}
