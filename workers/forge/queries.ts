/**
 * Runs bodies through the very runtime that serves them, and holds the answers of test queries
 * against what the manifest expects. All failures are told, each by query, field and values.
 */

import type { Fault } from '../../core/base/errors.ts'
import { isObject } from '../../core/base/json.ts'
import type { ExamplePlan } from '../../core/bundle/plan.ts'
import { join, shown } from '../../core/bundle/sentences.ts'
import type { BatchJob, WorkerOutcome } from '../protocol.ts'

export type Tried =
  /** `answer`: the whole of it, as JSON text; '' where it was no JSON of ours. */
  | { readonly kind: 'answered'; readonly result: unknown; readonly answer: string }
  | { readonly kind: 'failed'; readonly code: string; readonly detail: string }

/** A runtime, or a predictor: whatever takes jobs. */
export interface Runs {
  run(job: BatchJob): Promise<WorkerOutcome>
}

/** The part of an answer that a test query speaks of. */
export type Part = 'result' | 'response' | 'data' | 'answer'

const EXAMPLES = 3
const EXAMPLE_CHARS_MAX = 4_096

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** One body of `predict`, `run`, `query` or `lookup`. */
export async function tryBody(runs: Runs, body: string, part: Part = 'result'): Promise<Tried> {
  const [tried] = await tryBodies(runs, [body], part)
  return tried ?? { kind: 'failed', code: '', detail: 'there is no answer' }
}

/** Bodies of several callers in one job. */
export async function tryBodies(
  runs: Runs,
  bodies: readonly string[],
  part: Part = 'result',
): Promise<readonly Tried[]> {
  const outcome = await runs.run(jobOf(bodies))
  if (outcome.kind === 'failed') return bodies.map(() => outcome)
  if (outcome.kind !== 'answers') {
    return bodies.map(() => ({ kind: 'failed', code: '', detail: outcome.kind }))
  }
  return bodies.map((_, i) => triedOf(outcome, i, part))
}

/** As if a client had posted them. */
function jobOf(bodies: readonly string[]): BatchJob {
  const parts = bodies.map((body) => encoder.encode(body))
  const ends = new Uint32Array(parts.length)
  let end = 0
  for (const [i, { length }] of parts.entries()) {
    end += length
    ends[i] = end
  }
  const bytes = new Uint8Array(end)
  for (const [i, one] of parts.entries()) bytes.set(one, (ends[i] ?? 0) - one.length)
  const requests = bodies.map(() => ({ method: 'POST', path: '', query: '', headers: [] }))
  const waitUs = new Uint32Array(parts.length)
  return { endpoint: 0, verb: 'single', bytes, ends, waitUs, requests }
}

type Answers = Extract<WorkerOutcome, { kind: 'answers' }>

function triedOf(outcome: Answers, index: number, part: Part): Tried {
  const failure = outcome.failures?.find((one) => one.index === index)
  if (failure !== undefined) return { kind: 'failed', code: failure.code, detail: failure.detail }
  const raw = outcome.raw?.find((one) => one.index === index)
  if (raw !== undefined) {
    return { kind: 'answered', result: jsonOr(textOf(raw.body)), answer: '' }
  }
  if (outcome.reroutes?.some((one) => one.index === index) === true) {
    return { kind: 'failed', code: '', detail: 'it asks for what only a served endpoint does' }
  }
  const answer = textOf(outcome.bodies[index] ?? 'null')
  return { kind: 'answered', result: partOf(JSON.parse(answer), part), answer }
}

function textOf(body: string | Uint8Array): string {
  return typeof body === 'string' ? body : decoder.decode(body)
}

/** A function's own bytes may be anything; what is JSON is compared as such. */
function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function partOf(answer: unknown, part: Part): unknown {
  if (part === 'answer' || !isObject(answer)) return answer
  if (part !== 'data') return answer[part]
  const results: unknown = answer['results']
  const first: unknown = Array.isArray(results) ? results[0] : null
  if (!isObject(first)) return null
  // A record without a match has no data, but says why.
  return first['ignored'] === true ? first : first['data']
}

export interface QueriesRun {
  readonly outcomes: readonly { readonly name: string; readonly passed: boolean }[]
  /** Bodies that were answered, whatever was expected of them. */
  readonly answered: readonly string[]
  /** The first of them with their answers, for documents. */
  readonly examples: readonly ExamplePlan[]
  readonly faults: readonly Fault[]
}

interface Queried {
  readonly explanations?: { readonly enabled?: boolean | undefined } | undefined
  readonly testQueries?:
    | readonly {
        readonly name?: string | undefined
        readonly q: object
        readonly expect?: unknown
      }[]
    | undefined
}

/** The bodies of an endpoint's test queries. */
export function queryBodies(endpoint: Queried): string[] {
  return (endpoint.testQueries ?? []).map(({ q }) => JSON.stringify(plainly(q, endpoint)))
}

export async function runTestQueries(
  runs: Runs,
  endpoint: Queried,
  path: string,
  part: Part = 'result',
): Promise<QueriesRun> {
  const outcomes: { name: string; passed: boolean }[] = []
  const answered: string[] = []
  const examples: ExamplePlan[] = []
  const faults: Fault[] = []
  for (const [i, query] of (endpoint.testQueries ?? []).entries()) {
    const name = query.name ?? `testQueries[${i}]`
    const where = `${path}.testQueries[${i}]`
    const body = JSON.stringify(plainly(query.q, endpoint))
    const tried = await tryBody(runs, body, part)
    const found = faultsOf(tried, query.expect, { where, name })
    if (tried.kind === 'answered' && !isIgnored(tried.result)) {
      answered.push(body)
      if (examples.length < EXAMPLES) examples.push(...exampleOf(name, body, tried.answer))
    }
    outcomes.push({ name, passed: found.length === 0 })
    faults.push(...found)
  }
  return { outcomes, answered, examples, faults }
}

/** None of a body that is too long to be read; plans are stored and sent about. */
function exampleOf(name: string, body: string, answer: string): ExamplePlan[] {
  if (body.length > EXAMPLE_CHARS_MAX) return []
  const isShort = answer !== '' && answer.length <= EXAMPLE_CHARS_MAX
  return [{ name, body, ...(isShort ? { answer } : {}) }]
}

/** Of a plan. */
export function examplesPart({ examples }: Pick<QueriesRun, 'examples'>) {
  return examples.length === 0 ? {} : { examples }
}

/**
 * What is expected is the prediction: how it is explained is settled only when that is right, and
 * a body that is kept for warming up shall run the model itself.
 */
function plainly(q: object, { explanations }: Queried): object {
  if (explanations === undefined) return q
  const isPlain = explanations.enabled !== true && !('explanations' in q)
  return isPlain ? q : { ...q, explanations: { enabled: false } }
}

function isIgnored(result: unknown): boolean {
  return isObject(result) && result['ignored'] === true
}

interface QueryPlace {
  readonly where: string
  readonly name: string
}

function faultsOf(tried: Tried, expect: unknown, { where, name }: QueryPlace): Fault[] {
  if (tried.kind === 'failed') {
    return [{ path: `${where}.q`, reason: `test query "${name}" failed: ${tried.detail}` }]
  }
  if (expect === undefined) return []
  const differences: Fault[] = []
  compare(expect, tried.result, `${where}.expect`, differences)
  return differences.map(({ path, reason }) => ({
    path,
    reason: `test query "${name}": ${reason}`,
  }))
}

/** `expected` must be part of `got`; every field that is not leaves a fault. */
function compare(expected: unknown, got: unknown, path: string, faults: Fault[]): void {
  if (isObject(expected) && isObject(got)) {
    for (const [key, value] of Object.entries(expected)) {
      compare(value, Object.hasOwn(got, key) ? got[key] : undefined, join(path, key), faults)
    }
  } else if (Array.isArray(expected) && Array.isArray(got)) {
    if (expected.length !== got.length) {
      const reason = `expected ${expected.length} entries, got ${got.length}`
      faults.push({ path, reason })
      return
    }
    for (const [i, value] of expected.entries()) compare(value, got[i], `${path}[${i}]`, faults)
  } else if (!same(expected, got)) {
    const answer = got === undefined ? 'nothing' : shown(got)
    faults.push({ path, reason: `expected ${shown(expected)}, got ${answer}` })
  }
}

const TOLERANCE = 1e-4

function same(expected: unknown, got: unknown): boolean {
  if (typeof expected !== 'number' || typeof got !== 'number') return expected === got
  const difference = Math.abs(expected - got)
  return difference <= TOLERANCE * Math.max(1, Math.abs(expected), Math.abs(got))
}
