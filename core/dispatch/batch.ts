/** Packs the bodies of a batch into one buffer of their size, which is handed to a thread. */

import type { BatchJob, RequestFacts } from '../../workers/protocol.ts'
import type { Lane } from './lane.ts'
import type { Pending } from './pending.ts'

/** Below this a copy costs less than what else a hand-over takes. */
export const LENT_BYTES_MIN = 64 * 1024
const NO_BYTES = new Uint8Array(0)

/** Of a POST whose lane does not look at more than its body, beside one that came as a GET. */
const PLAIN: RequestFacts = Object.freeze({ method: 'POST', path: '', query: '', headers: [] })

/**
 * The buffer is allocated for this batch alone: a view into a shared one would be sent with all of
 * it, other callers' bytes included.
 */
export function packBatch(lane: Lane, batch: readonly Pending[], startMs: number): BatchJob {
  const { endpoint, verb } = lane.options
  const ends = new Uint32Array(batch.length)
  const waitUs = new Uint32Array(batch.length)
  let total = 0
  let hasFacts = false
  let hasSent = false
  for (let i = 0; i < batch.length; i++) {
    const pending = batch[i] as Pending
    total += pending.bytes
    if (pending.facts !== null) hasFacts = true
    if (pending.isSent) hasSent = true
    ends[i] = total
    waitUs[i] = (startMs - pending.arrivedMs) * 1000
  }
  const lent = lentBody(lane, batch)
  const bytes = lent ?? joined(batch, ends, total)
  const plain: BatchJob = { endpoint, verb, bytes, ends, waitUs }
  const job = lent === null ? plain : { ...plain, lent: true as const }
  const isPlain = !hasFacts && !hasSent && !lane.split && verb !== 'explain'
  return isPlain ? job : { ...job, ...besides(lane, batch, { hasFacts, hasSent }) }
}

function joined(batch: readonly Pending[], ends: Uint32Array, total: number): Uint8Array {
  const bytes = new Uint8Array(total)
  for (let i = 0; i < batch.length; i++) {
    const body = batch[i]?.body ?? null
    if (body !== null) bytes.set(body, i === 0 ? 0 : ends[i - 1])
  }
  return bytes
}

/**
 * A large body that is alone is handed over as it is: copying 2 MB takes the main thread a
 * millisecond in which it answers nobody. Null: it is needed here too, or its buffer holds more.
 */
function lentBody(lane: Lane, [pending, ...others]: readonly Pending[]): Uint8Array | null {
  if (!lane.options.borrows || lane.log !== null || others.length > 0) return null
  const body = pending?.body ?? NO_BYTES
  const isWhole = body.byteLength === body.buffer.byteLength && body.buffer instanceof ArrayBuffer
  if (pending === undefined || body.byteLength < LENT_BYTES_MIN || !isWhole) return null
  pending.body = NO_BYTES
  return body
}

/** What few jobs have. */
function besides(
  { split, options }: Lane,
  batch: readonly Pending[],
  { hasFacts, hasSent }: { readonly hasFacts: boolean; readonly hasSent: boolean },
): Partial<BatchJob> {
  return {
    ...(hasFacts ? { requests: batch.map(({ facts }) => facts ?? PLAIN) } : {}),
    ...(split ? { split } : {}),
    ...(hasSent ? { settled: Uint8Array.from(batch, ({ isSent }) => (isSent ? 1 : 0)) } : {}),
    ...(options.verb === 'explain' ? { state: batch[0]?.state } : {}),
  }
}
