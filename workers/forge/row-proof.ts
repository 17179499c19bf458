/**
 * May rows of strangers be given to the code of a bundle in one call? Proven like for models: the
 * same rows alone, together and beside others must be answered alike. Without two different rows to
 * try, or with any doubt, rows are run one by one.
 */

import { isObject } from '../../core/base/json.ts'
import type { CustomPredictionPlan } from '../../core/bundle/plan.ts'
import type { Batchable } from './batchable.ts'
import type { RuntimeEndpoint } from './plans.ts'
import { type QueriesRun, type Runs, tryBodies } from './queries.ts'
import { shortReason } from './reasons.ts'
import { candidateRows } from './rows.ts'
import type { EndpointTask } from './task.ts'

/** Rows that are looked for, and how many are tried in search of them. */
const PROOF_ROWS = 8
const TRIES_MAX = 24
const RELATIVE = 1e-6
const ABSOLUTE = 1e-9

export interface RowProof extends Batchable {
  /** Bodies that were answered alone, each another row. */
  readonly bodies: readonly string[]
}

export interface RowProofOptions {
  readonly task: EndpointTask<RuntimeEndpoint>
  readonly plan: CustomPredictionPlan
  readonly runtime: Runs
  readonly run: QueriesRun
}

interface Answered {
  readonly body: string
  readonly result: unknown
}

export async function proveRows(options: RowProofOptions): Promise<RowProof> {
  const { task, plan, runtime } = options
  const { endpoint } = task
  const rows = await rowsToTry(options)
  const bodies = rows.accepted.map(({ body }) => body)
  const no = (reason: string): RowProof => ({ batchable: false, reason, bodies })
  if ('batch' in endpoint && endpoint.batch === false) return no('the manifest says batch: false')
  if (plan.maxRows === 1) return no('maxRows is 1')
  if (rows.accepted.length < 2) {
    const count = rows.accepted.length === 0 ? 'none' : 'only one'
    const why = rows.refusal === null ? '' : ` (${shortReason(rows.refusal)})`
    return no(`a proof needs two different rows, and there is ${count}${why}: add test queries`)
  }
  for (const line of lineUps(rows.accepted, plan.maxRows)) {
    const difference = await firstDifference(runtime, line)
    if (difference !== null) return no(difference)
  }
  const reason = `${bodies.length} different rows gave the same answers alone and among others`
  return { batchable: true, reason, bodies }
}

/** Rows of the test queries; where the manifest lists the features, made-up ones too. */
async function rowsToTry({ task, plan, runtime, run }: RowProofOptions) {
  const accepted: Answered[] = []
  let refusal: string | null = null
  let tries = 0
  for (const body of candidates(task, plan, run)) {
    const [tried] = await tryBodies(runtime, [body])
    if (tried?.kind === 'failed') refusal = tried.detail
    else if (tried !== undefined && !isIgnored(tried.result)) {
      accepted.push({ body, result: tried.result })
    }
    tries += 1
    if (accepted.length >= PROOF_ROWS || tries >= TRIES_MAX) break
  }
  return { accepted, refusal }
}

function* candidates(
  { endpoint }: EndpointTask<RuntimeEndpoint>,
  { features }: CustomPredictionPlan,
  { answered }: QueriesRun,
): Generator<string> {
  const seen = new Set(answered)
  yield* seen
  // Made-up rows have no key that a table would know.
  if (features === null || ('enrich' in endpoint && endpoint.enrich !== undefined)) return
  const given = (endpoint.testQueries ?? []).map(({ q }) => q['features']).filter(isObject)
  // The code's author vouches for the test queries only, so they lend their values.
  let made = 0
  for (const row of candidateRows(features, given)) {
    if (made >= TRIES_MAX) return
    made += 1
    const body = JSON.stringify({ features: row })
    if (seen.has(body)) continue
    seen.add(body)
    yield body
  }
}

function isIgnored(result: unknown): boolean {
  return isObject(result) && result['ignored'] === true
}

/** In order, backwards, and each of them among copies of its neighbour. */
function lineUps(rows: readonly Answered[], maxRows: number): Answered[][] {
  const some = rows.slice(0, maxRows)
  const [first, second] = some
  const mixed = some.flatMap((row, i) => [row, some[(i + 1) % some.length] ?? row])
  const copies = first === undefined || second === undefined ? [] : [second, first, second, second]
  return [some, some.toReversed(), mixed.slice(0, maxRows), copies.slice(0, maxRows)]
}

async function firstDifference(runtime: Runs, line: readonly Answered[]): Promise<string | null> {
  const together = await tryBodies(
    runtime,
    line.map(({ body }) => body),
  )
  for (const [i, { result }] of line.entries()) {
    const got = together[i]
    if (got === undefined) return 'rows together get fewer answers than they are'
    if (got.kind === 'failed') return `rows together fail: ${shortReason(got.detail)}`
    if (!isAlike(result, got.result)) {
      return "a row's answer changes with the other rows of a call, or from call to call"
    }
  }
  return null
}

/** Equal but for the last digits of numbers: sums are added up in another order. */
function isAlike(a: unknown, b: unknown): boolean {
  if (typeof a === 'number' && typeof b === 'number') {
    return Math.abs(a - b) <= Math.max(ABSOLUTE, RELATIVE * Math.max(Math.abs(a), Math.abs(b)))
  }
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((value, i) => isAlike(value, b[i]))
  }
  if (!isObject(a) || !isObject(b)) return a === b
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => isAlike(a[key], b[key]))
}
