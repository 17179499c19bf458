/** How the requests of an endpoint are put into batches, and how long a run of them may take. */

import type { PoolKind, Verb } from '../bundle/kinds.ts'
import type { EndpointPlan } from '../bundle/plan.ts'
import { LIMITS } from '../config/limits.ts'
import type { LaneOptions } from '../dispatch/lane.ts'

/** A run hangs that takes this many times what the longest took in the forge. */
const WORST_BATCHES = 10
/** What waits ends its runs by itself, at their deadline and a grace; later, something is wrong. */
const IO_GRACE_MS = 5_000

/** Of an older plan, and of requests that are more than a row. */
const UNKNOWN = { fixedUs: 0, perRowUs: 0 }

type LaneShape = Pick<
  LaneOptions,
  'serial' | 'batchMax' | 'cost' | 'legalMs' | 'permit' | 'witnessed' | 'borrows' | 'wantsRequest'
>

export function laneShape(plan: EndpointPlan, verb: Verb, pool: PoolKind): LaneShape {
  return {
    ...batching(plan, verb, pool),
    cost: (verb === 'single' ? plan.cost : undefined) ?? UNKNOWN,
    legalMs: legalMs(plan, verb, pool),
    permit: pool === 'cpu',
    witnessed: isNative(plan, pool),
    borrows: plan.type === 'STD_PREDICTION' && pool === 'cpu' && verb !== 'explain',
    wantsRequest: 'python' in plan && plan.python.requestMetadata,
  }
}

/**
 * Whether its runs are native code of this process: what computes, a model wherever it is, and the
 * embedded database. Children and databases elsewhere cannot end the process.
 */
function isNative(plan: EndpointPlan, pool: PoolKind): boolean {
  if (pool === 'cpu' || plan.type === 'STD_PREDICTION') return true
  return plan.type === 'SQL_QUERY' && plan.sql.connection === null
}

function batching(
  plan: EndpointPlan,
  verb: Verb,
  pool: PoolKind,
): Pick<LaneShape, 'serial' | 'batchMax'> {
  // Its requests run in slices, one after the other.
  if (verb === 'explain') return { serial: false, batchMax: 1 }
  const serial = { serial: true, batchMax: LIMITS.batchRowsMax }
  const scoring = scoringOf(plan)
  if (scoring !== null) {
    if (verb === 'multi' || !scoring.batchable) return serial
    return { serial: false, batchMax: scoring.maxRows }
  }
  // Look-ups on disk take microseconds, so they share a hand-over; what waits takes a slot each.
  if (pool === 'io') return { serial: false, batchMax: 1 }
  return verb === 'multi' ? serial : { serial: false, batchMax: LIMITS.batchRowsMax }
}

/** Null: it predicts nothing, so rows cannot run together. */
function scoringOf(
  plan: EndpointPlan,
): { readonly batchable: boolean; readonly maxRows: number } | null {
  if (plan.type === 'STD_PREDICTION') return plan.prediction
  if ('python' in plan) return plan.python.prediction
  return 'r' in plan ? plan.r.prediction : null
}

/**
 * A run of many rows goes on until its caller's time is up, and then ends its current batch; so may
 * the slice of an explanation of many rows.
 */
function legalMs({ worstBatchMs, timeoutMs }: EndpointPlan, verb: Verb, pool: PoolKind): number {
  const worstMs = WORST_BATCHES * worstBatchMs
  if (pool === 'io') return worstMs + timeoutMs + IO_GRACE_MS
  return worstMs + (verb === 'single' ? 0 : timeoutMs)
}
