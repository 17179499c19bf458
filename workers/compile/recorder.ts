/**
 * Runs of a model that are kept and can be held against another model: what went in, and all that
 * came out, bit by bit. What the original refuses, the other one must refuse too.
 */

import { Buffer } from 'node:buffer'
import type { TensorSpec } from '../../core/bundle/plan.ts'
import { type Feeds, type Fetched, type Model, Tensor } from '../onnx/session.ts'

/** Beyond these, runs are not kept: they prove no more, and the process has a limit of memory. */
const RUNS_MAX = 2_000
const BYTES_MAX = 256 * 1024 * 1024

interface Kept {
  readonly feeds: Feeds
  /** Null: the model refused them. */
  readonly outputs: Fetched | null
}

/** Stands for the model while it is tried. */
export class Recorder implements Model {
  readonly inputs: readonly TensorSpec[]
  readonly outputs: readonly TensorSpec[]
  readonly #model: Model
  readonly #kept: Kept[] = []
  #bytes = 0
  #answered = 0

  constructor(model: Model) {
    this.#model = model
    this.inputs = model.inputs
    this.outputs = model.outputs
  }

  /** Runs that were answered, and are kept. */
  get answered(): number {
    return this.#answered
  }

  /** Whoever asks for some outputs gets all. */
  async run(feeds: Feeds): Promise<Fetched> {
    // The caller fills the same buffers again for its next run.
    const copies = copyOf(feeds)
    try {
      const outputs = await this.#model.run(feeds)
      this.#keep({ feeds: copies, outputs })
      return outputs
    } catch (error) {
      this.#keep({ feeds: copies, outputs: null })
      throw error
    }
  }

  release(): Promise<void> {
    return this.#model.release()
  }

  /** Why `other` is not the same model as this one was, as far as the runs tell; null: it is. */
  async difference(other: Model): Promise<string | null> {
    const [inputs, outputs] = [JSON.stringify(other.inputs), JSON.stringify(other.outputs)]
    if (inputs !== JSON.stringify(this.inputs)) return 'it has other inputs'
    if (outputs !== JSON.stringify(this.outputs)) return 'it has other outputs'
    for (const kept of this.#kept) {
      const difference = await differenceOf(kept, other)
      if (difference !== null) return difference
    }
    return null
  }

  #keep(kept: Kept): void {
    const bytes = bytesOf(kept.feeds) + (kept.outputs === null ? 0 : bytesOf(kept.outputs))
    if (this.#kept.length >= RUNS_MAX || this.#bytes + bytes > BYTES_MAX) return
    this.#kept.push(kept)
    this.#bytes += bytes
    if (kept.outputs !== null) this.#answered += 1
  }
}

async function differenceOf({ feeds, outputs }: Kept, other: Model): Promise<string | null> {
  let got: Fetched
  try {
    got = await other.run(feeds)
  } catch {
    return outputs === null ? null : 'it refuses what the original answers'
  }
  if (outputs === null) return 'it answers what the original refuses'
  for (const [name, expected] of Object.entries(outputs)) {
    const tensor = got[name]
    if (tensor === undefined || !isSame(expected, tensor)) return `output "${name}" differs`
  }
  return null
}

function isSame(a: Tensor, b: Tensor): boolean {
  if (a.type !== b.type || a.dims.join() !== b.dims.join()) return false
  const [left, right] = [a.data, b.data]
  if (Array.isArray(left) || Array.isArray(right)) return String(left) === String(right)
  return bytesIn(left).equals(bytesIn(right))
}

/** Bits and not values: a NaN is the same as itself, and 0 is not -0. */
function bytesIn({ buffer, byteOffset, byteLength }: ArrayBufferView): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}

function copyOf(feeds: Feeds): Feeds {
  const copies = Object.entries(feeds).map(([name, { type, data, dims }]) => {
    return [name, new Tensor(type, data.slice(), [...dims])] as const
  })
  return Object.fromEntries(copies)
}

function bytesOf(tensors: Fetched): number {
  return Object.values(tensors).reduce((sum, { data }) => {
    return sum + (Array.isArray(data) ? data.join('').length : data.byteLength)
  }, 0)
}
