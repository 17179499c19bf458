/**
 * One keep-alive connection over a raw socket, one request in flight at a time.
 *
 * A raw socket and not node:http, because the client shares two cores with the server: what it
 * spends is missing there. Never pipelined: uWebSockets.js closes such connections unanswered.
 */

import { connect, type Socket } from 'node:net'

export type Outcome =
  | { readonly kind: 'answer'; readonly status: number; readonly body: Buffer }
  | { readonly kind: 'failed'; readonly reason: string }

interface Place {
  readonly host: string
  readonly port: number
}

const HEAD_END = Buffer.from('\r\n\r\n')
const NOTHING = Buffer.alloc(0)

export class Connection {
  readonly #place: Place
  #socket: Socket | null = null
  #received: Buffer = NOTHING
  #pending: ((outcome: Outcome) => void) | null = null
  #lastReason = 'the connection was closed'

  constructor(place: Place) {
    this.#place = place
  }

  /** False when the next `send` has to connect first. */
  get isOpen(): boolean {
    return this.#socket?.writable === true
  }

  async open(): Promise<void> {
    const socket = connect({ ...this.#place, noDelay: true })
    this.#socket = socket
    this.#received = NOTHING
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    this.#lastReason = 'the connection was closed'
    socket.on('error', (error) => {
      this.#lastReason = error.message
    })
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('end', () => socket.destroy())
    socket.on('close', () => {
      if (this.#socket === socket) this.#finish({ kind: 'failed', reason: this.#lastReason })
    })
  }

  /** Sends one request; `done` is called exactly once. Opens again what the server closed. */
  send(request: Buffer, done: (outcome: Outcome) => void): void {
    this.#pending = done
    if (this.isOpen) {
      this.#socket?.write(request)
      return
    }
    this.open().then(
      () => this.#socket?.write(request),
      (error: Error) => this.#finish({ kind: 'failed', reason: error.message }),
    )
  }

  /** Ends the connection; a request in flight is reported as failed with this reason. */
  close(reason: string): void {
    this.#lastReason = reason
    this.#socket?.destroy()
    this.#socket = null
    this.#finish({ kind: 'failed', reason })
  }

  #read(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
    const headBytes = this.#received.indexOf(HEAD_END)
    if (headBytes < 0) return
    const head = this.#received.toString('latin1', 0, headBytes)
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
    if (length === undefined) {
      this.close('an answer without Content-Length')
      return
    }
    const bodyStart = headBytes + HEAD_END.length
    const bodyEnd = bodyStart + Number(length)
    if (this.#received.length < bodyEnd) return
    if (this.#received.length > bodyEnd) {
      this.close('more bytes than the answer has')
      return
    }
    const body = this.#received.subarray(bodyStart, bodyEnd)
    this.#received = NOTHING
    if (/\r\nconnection: *close/i.test(head)) this.#socket?.destroy()
    this.#finish({ kind: 'answer', status: Number(head.slice(9, 12)), body })
  }

  #finish(outcome: Outcome): void {
    const done = this.#pending
    this.#pending = null
    done?.(outcome)
  }
}
