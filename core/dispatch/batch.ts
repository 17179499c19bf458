/** Packs the bodies of a batch into one buffer of their size, which is handed to a thread. */

import type { BatchJob, RequestFacts } from '../../workers/protocol.ts'
import type { Lane, Pending } from './lane.ts'

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
  const bytes = new Uint8Array(total)
  for (let i = 0; i < batch.length; i++) {
    const body = batch[i]?.body ?? null
    if (body !== null) bytes.set(body, (ends[i] ?? 0) - body.byteLength)
  }
  const job: BatchJob = { endpoint, verb, bytes, ends, waitUs }
  const isPlain = !hasFacts && !hasSent && !lane.split && verb !== 'explain'
  return isPlain ? job : { ...job, ...besides(lane, batch, { hasFacts, hasSent }) }
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
