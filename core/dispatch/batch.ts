/** A batch on its way to a thread: its bodies are copied once, to where that thread reads them. */

import type { BatchJob, RequestFacts } from '../../workers/protocol.ts'
import type { Verb } from '../bundle/kinds.ts'
import type { Lane } from './lane.ts'
import type { Pending } from './pending.ts'

/** Below this a copy costs less than what else a hand-over takes. */
export const LENT_BYTES_MIN = 64 * 1024
const NO_BYTES = new Uint8Array(0)

/** Of a POST whose lane does not look at more than its body, beside one that came as a GET. */
const PLAIN: RequestFacts = Object.freeze({ method: 'POST', path: '', query: '', headers: [] })

/** What few batches bring along beside bodies and numbers. */
type Extra = Omit<BatchJob, 'endpoint' | 'verb' | 'bytes' | 'ends' | 'waitUs'>

/** Endpoint, verb and numbers as in a BatchJob. */
export class PackedBatch {
  readonly endpoint: number
  readonly verb: Verb
  readonly ends: Uint32Array
  readonly waitUs: Uint32Array
  readonly #batch: readonly Pending[]
  readonly #extra: Extra | null
  /** The bytes of its only request, which go to the thread as they are. */
  readonly #lent: Uint8Array | null

  constructor(lane: Lane, batch: readonly Pending[], startMs: number) {
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
    this.endpoint = endpoint
    this.verb = verb
    this.ends = ends
    this.waitUs = waitUs
    this.#batch = batch
    this.#lent = lentBody(lane, batch)
    const isPlain =
      this.#lent === null && !hasFacts && !hasSent && !lane.split && verb !== 'explain'
    this.#extra = isPlain ? null : extraOf(lane, batch, { hasFacts, hasSent, lent: this.#lent })
  }

  /** It is bodies and numbers alone. */
  get isPlain(): boolean {
    return this.#extra === null
  }

  copyTo(bytes: Uint8Array): void {
    const batch = this.#batch
    for (let i = 0; i < batch.length; i++) {
      const body = batch[i]?.body ?? null
      if (body !== null) bytes.set(body, i === 0 ? 0 : this.ends[i - 1])
    }
  }

  /**
   * As a message. Its buffer is allocated for it alone: a view into a shared one would be sent with
   * all of it, other callers' bytes included.
   */
  toJob(): BatchJob {
    const { endpoint, verb, ends, waitUs } = this
    const bytes = this.#lent ?? new Uint8Array(ends[ends.length - 1] ?? 0)
    if (this.#lent === null) this.copyTo(bytes)
    return { endpoint, verb, bytes, ends, waitUs, ...this.#extra }
  }
}

/**
 * A large body that is alone is handed over as it is: copying 2 MB takes the main thread a
 * millisecond in which it answers nobody. Null: it is needed here too, or its buffer holds more.
 */
function lentBody(lane: Lane, batch: readonly Pending[]): Uint8Array | null {
  if (!lane.options.borrows || lane.log !== null || batch.length > 1) return null
  const [pending] = batch
  const body = pending?.body ?? NO_BYTES
  const isWhole = body.byteLength === body.buffer.byteLength && body.buffer instanceof ArrayBuffer
  if (pending === undefined || body.byteLength < LENT_BYTES_MIN || !isWhole) return null
  pending.body = NO_BYTES
  return body
}

interface Found {
  readonly hasFacts: boolean
  readonly hasSent: boolean
  readonly lent: Uint8Array | null
}

function extraOf({ split, options }: Lane, batch: readonly Pending[], found: Found): Extra {
  return {
    ...(found.hasFacts ? { requests: batch.map(({ facts }) => facts ?? PLAIN) } : {}),
    ...(split ? { split } : {}),
    ...(found.hasSent ? { settled: Uint8Array.from(batch, ({ isSent }) => (isSent ? 1 : 0)) } : {}),
    ...(found.lent === null ? {} : { lent: true as const }),
    ...(options.verb === 'explain' ? { state: batch[0]?.state } : {}),
  }
}
