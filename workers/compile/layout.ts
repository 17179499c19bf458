/**
 * The data file of a compiled model, laid out anew: every range of the old file gets an aligned
 * place in a new one, in the order in which they are named. Ranges that are named twice share one.
 */

import { open } from 'node:fs/promises'
import { WireError } from '../forge/onnx-wire.ts'

/** What the widest instructions of today's processors ask for. */
const ALIGNED = 64
/** A page: what is mapped on its own begins with one. */
const PAGE = 4096
const PAGED_FROM = 64 * 1024

interface Move {
  readonly from: number
  readonly to: number
  readonly length: number
}

export class Layout {
  readonly #size: number
  readonly #bytesMax: number
  readonly #moves = new Map<string, Move>()
  #end = 0

  /** `size` of the old file; the new one may be `bytesMax` long. */
  constructor(size: number, bytesMax: number) {
    this.#size = size
    this.#bytesMax = bytesMax
  }

  /** Bytes of the new file. */
  get bytes(): number {
    return this.#end
  }

  /** Where this range of the old file begins in the new one. */
  place(from: number, length: number): number {
    if (from + length > this.#size) {
      throw new WireError('a weight of the compiled model is beyond the end of its file')
    }
    const key = `${from}+${length}`
    const known = this.#moves.get(key)
    if (known !== undefined) return known.to
    const unit = length >= PAGED_FROM ? PAGE : ALIGNED
    const to = Math.ceil(this.#end / unit) * unit
    this.#end = to + length
    if (this.#end > this.#bytesMax) {
      throw new WireError(`the compiled model needs more than ${this.#bytesMax} bytes`)
    }
    this.#moves.set(key, { from, to, length })
    return to
  }

  /** `key|offset;length;checksum|…`, each blob at its new place. */
  packed(text: string): string {
    const [key = '', ...blobs] = text.split('|')
    const moved = blobs.map((blob) => {
      const [offset, length, ...rest] = blob.split(';')
      return [this.place(numberOf(offset), numberOf(length)), length, ...rest].join(';')
    })
    return [key, ...moved].join('|')
  }

  /** Copies all ranges into a new file; the bytes between them are zero. */
  async copy(fromPath: string, toPath: string): Promise<void> {
    const from = await open(fromPath, 'r')
    try {
      const to = await open(toPath, 'wx', 0o600)
      try {
        const buffer = Buffer.alloc(1024 * 1024)
        for (const move of this.#moves.values()) {
          for (let done = 0; done < move.length; ) {
            const wanted = Math.min(buffer.length, move.length - done)
            const { bytesRead } = await from.read(buffer, 0, wanted, move.from + done)
            if (bytesRead === 0) throw new WireError('the data of the compiled model is cut short')
            await writeAll(to, buffer.subarray(0, bytesRead), move.to + done)
            done += bytesRead
          }
        }
        // A last range of no bytes leaves the file shorter than the offsets say.
        await to.truncate(this.#end)
      } finally {
        await to.close()
      }
    } finally {
      await from.close()
    }
  }
}

async function writeAll(
  file: Awaited<ReturnType<typeof open>>,
  bytes: Buffer,
  position: number,
): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const left = bytes.length - done
    const { bytesWritten } = await file.write(bytes, done, left, position + done)
    done += bytesWritten
  }
}

/** Offsets and lengths are decimal texts. */
export function numberOf(text: string | undefined): number {
  const value = /^\d{1,16}$/.test(text ?? '') ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(value)) {
    throw new WireError('a weight of the compiled model has no proper offset or length')
  }
  return value
}
