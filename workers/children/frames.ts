/**
 * Frames over a stream to a child: four bytes of length, big endian, then that many bytes. Used
 * over descriptor 3 and over the loopback connections of R.
 *
 * A child is not trusted: a length beyond the limit or a frame that nobody asked for ends the
 * connection, and memory grows only with what has really come.
 */

import type { Duplex } from 'node:stream'
import { AppError } from '../../core/base/errors.ts'
import { LIMITS } from '../../core/config/limits.ts'

const HEAD_BYTES = 4
/** Below this, one copy is cheaper than a second buffer for the kernel to gather. */
const COPY_BYTES_MAX = 16_384

type Part = string | Uint8Array

interface Asked {
  readonly resolve: (frame: Buffer) => void
  readonly reject: (error: AppError) => void
}

/** Asks and answers in turn: at most one frame is waited for. */
export class FrameChannel {
  readonly #stream: Duplex
  readonly #bytesMax: number
  #asked: Asked | null = null
  #failure: AppError | null = null
  /** What has come of the frame, its head included. */
  #chunks: Buffer[] = []
  #bytes = 0
  /** Of the frame without its head; null: the head is not complete. */
  #length: number | null = null
  #end: (error: AppError) => void = () => {}
  /** Settles once no frame can come any more, with the reason. */
  readonly ended: Promise<AppError>

  constructor(stream: Duplex, bytesMax: number = LIMITS.childAnswerBytesMax) {
    this.#stream = stream
    this.#bytesMax = bytesMax
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
    stream.on('data', (chunk: Buffer) => this.#take(chunk))
    stream.on('error', () => this.#fail(lost()))
    stream.on('end', () => this.#fail(lost()))
    stream.on('close', () => this.#fail(lost()))
    if (stream.destroyed || stream.readableEnded) this.#fail(lost())
  }

  /**
   * Sends one frame made of the parts and settles with the next one that comes. The bytes may share
   * their memory with other frames: copy what is to be transferred.
   */
  ask(...parts: readonly Part[]): Promise<Buffer> {
    const answer = this.next()
    if (this.#failure === null) this.#send(parts)
    return answer
  }

  /** The next frame that the child sends by itself, as when it is ready. */
  next(): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) reject(this.#failure)
      else if (this.#asked !== null) reject(new AppError('ERR_INTERNAL', 'two calls at once'))
      else this.#asked = { resolve, reject }
    })
  }

  close(): void {
    this.#fail(lost())
  }

  #send(parts: readonly Part[]): void {
    let length = 0
    for (const part of parts) length += sizeOf(part)
    if (length <= COPY_BYTES_MAX) {
      this.#stream.write(joined(parts, length))
      return
    }
    const head = Buffer.allocUnsafe(HEAD_BYTES)
    head.writeUInt32BE(length)
    this.#stream.cork()
    this.#stream.write(head)
    for (const part of parts) if (part.length > 0) this.#stream.write(part)
    this.#stream.uncork()
  }

  #take(chunk: Buffer): void {
    let rest = chunk
    // A frame that came whole, as almost all do, is not copied.
    while (this.#failure === null && rest.length > 0) {
      if (this.#bytes > 0) rest = this.#takeMore(rest)
      else if (rest.length < HEAD_BYTES) rest = this.#keep(rest)
      else {
        const end = HEAD_BYTES + this.#checked(rest.readUInt32BE(0))
        if (rest.length < end) rest = this.#keep(rest)
        else {
          this.#deliver(rest.subarray(HEAD_BYTES, end))
          rest = rest.subarray(end)
        }
      }
    }
  }

  #keep(chunk: Buffer): Buffer {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    return chunk.subarray(chunk.length)
  }

  /** Part of a frame is here. Returns what belongs to the next one. */
  #takeMore(chunk: Buffer): Buffer {
    if (this.#length === null) {
      const need = HEAD_BYTES - Math.min(this.#bytes, HEAD_BYTES)
      if (chunk.length < need) return this.#keep(chunk)
      const head = Buffer.concat([...this.#chunks, chunk.subarray(0, need)]).readUInt32BE(0)
      this.#length = this.#checked(head)
    }
    const missing = HEAD_BYTES + this.#length - this.#bytes
    const rest = chunk.subarray(missing)
    this.#keep(chunk.subarray(0, missing))
    if (chunk.length < missing) return rest
    const whole = Buffer.concat(this.#chunks, this.#bytes)
    this.#chunks = []
    this.#bytes = 0
    this.#length = null
    this.#deliver(whole.subarray(HEAD_BYTES))
    return rest
  }

  #checked(length: number): number {
    if (length > this.#bytesMax) {
      this.#fail(
        new AppError('ERR_ANSWER_INVALID', `its answer has more than ${this.#bytesMax} bytes`),
      )
    }
    return length
  }

  #deliver(frame: Buffer): void {
    const asked = this.#asked
    // The head was refused meanwhile.
    if (this.#failure !== null) return
    if (asked === null) {
      this.#fail(new AppError('ERR_ANSWER_INVALID', 'it answered what nobody asked'))
      return
    }
    this.#asked = null
    asked.resolve(frame)
  }

  #fail(error: AppError): void {
    if (this.#failure !== null) return
    this.#failure = error
    this.#chunks = []
    this.#asked?.reject(error)
    this.#asked = null
    this.#stream.destroy()
    this.#end(error)
  }
}

function lost(): AppError {
  return new AppError('ERR_CHILD_LOST', 'it closed its connection')
}

function sizeOf(part: Part): number {
  return typeof part === 'string' ? Buffer.byteLength(part) : part.length
}

function joined(parts: readonly Part[], length: number): Buffer {
  const frame = Buffer.allocUnsafe(HEAD_BYTES + length)
  let offset = frame.writeUInt32BE(length)
  for (const part of parts) {
    if (typeof part === 'string') offset += frame.write(part, offset)
    else {
      frame.set(part, offset)
      offset += part.length
    }
  }
  return frame
}
