/**
 * Runs bodies through the very runtime that serves them, and holds the answers of test queries
 * against what the manifest expects. All failures are told, each by query, field and values.
 */

import type { Fault } from '../../core/base/errors.ts'
import { isObject } from '../../core/base/json.ts'
import type { StdPredictionEndpoint } from '../../core/bundle/endpoint-schemas.ts'
import { join, shown } from '../../core/bundle/sentences.ts'
import type { Predictor } from '../onnx/predictor.ts'

export type Tried =
  | { readonly kind: 'answered'; readonly result: unknown }
  | { readonly kind: 'failed'; readonly code: string; readonly detail: string }

const encoder = new TextEncoder()

/** One body of `predict`. */
export async function tryBody(predictor: Predictor, body: string): Promise<Tried> {
  const bytes = encoder.encode(body)
  const ends = Uint32Array.of(bytes.length)
  const waitUs = new Uint32Array(1)
  const outcome = await predictor.run({ endpoint: 0, verb: 'single', bytes, ends, waitUs })
  if (outcome.kind === 'failed') return outcome
  if (outcome.kind !== 'answers') return { kind: 'failed', code: '', detail: outcome.kind }
  const failure = outcome.failures?.[0]
  if (failure !== undefined) return { kind: 'failed', code: failure.code, detail: failure.detail }
  const answer: unknown = JSON.parse(String(outcome.bodies[0] ?? 'null'))
  return { kind: 'answered', result: isObject(answer) ? answer['result'] : null }
}

export interface QueriesRun {
  readonly outcomes: readonly { readonly name: string; readonly passed: boolean }[]
  /** Bodies that the model answered, whatever was expected of them. */
  readonly answered: readonly string[]
  readonly faults: readonly Fault[]
}

export async function runTestQueries(
  predictor: Predictor,
  endpoint: StdPredictionEndpoint,
  path: string,
): Promise<QueriesRun> {
  const outcomes: { name: string; passed: boolean }[] = []
  const answered: string[] = []
  const faults: Fault[] = []
  for (const [i, query] of (endpoint.testQueries ?? []).entries()) {
    const name = query.name ?? `testQueries[${i}]`
    const where = `${path}.testQueries[${i}]`
    const body = JSON.stringify(query.q)
    const tried = await tryBody(predictor, body)
    const found = faultsOf(tried, query.expect, { where, name })
    if (tried.kind === 'answered' && !isIgnored(tried.result)) answered.push(body)
    outcomes.push({ name, passed: found.length === 0 })
    faults.push(...found)
  }
  return { outcomes, answered, faults }
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
