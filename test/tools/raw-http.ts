/** HTTP by hand over a socket: what no client library sends, and every byte that comes back. */

import { connect, type Socket } from 'node:net'

export interface RawAnswer {
  readonly status: number
  /** Header lines, names in lower case. */
  readonly headers: readonly (readonly [string, string])[]
  readonly body: Buffer
}

export class RawClient {
  readonly socket: Socket
  readonly #chunks: Buffer[] = []
  #waiting: (() => void)[] = []
  closed = false
  /** True when the connection ended by a reset. */
  reset = false

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    this.socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk)
      this.#notify()
    })
    this.socket.on('error', () => {
      this.reset = true
    })
    this.socket.on('end', () => this.#ended())
    this.socket.on('close', () => this.#ended())
  }

  get bytes(): Buffer {
    const all = Buffer.concat(this.#chunks)
    this.#chunks.splice(0, this.#chunks.length, all)
    return all
  }

  send(...parts: readonly (string | Uint8Array)[]): this {
    for (const part of parts) this.socket.write(typeof part === 'string' ? part : part)
    return this
  }

  /** The next `count` answers, taken off the connection; fewer when it closes before. */
  async answers(count = 1, limitMs = 60_000): Promise<RawAnswer[]> {
    const endMs = performance.now() + limitMs
    const found: RawAnswer[] = []
    while (found.length < count) {
      const next = this.#take()
      if (next !== null) found.push(next)
      else if (this.closed || performance.now() > endMs) break
      else await this.#more(endMs - performance.now())
    }
    return found
  }

  /** Waits for the end of the connection; false when it stays open for that long. */
  async end(limitMs = 60_000): Promise<boolean> {
    const endMs = performance.now() + limitMs
    while (!this.closed && performance.now() < endMs) await this.#more(endMs - performance.now())
    return this.closed
  }

  destroy(): void {
    this.socket.destroy()
  }

  #take(): RawAnswer | null {
    const all = this.bytes
    const headEnd = all.indexOf('\r\n\r\n')
    if (headEnd < 0) return null
    const [first = '', ...lines] = all.toString('latin1', 0, headEnd).split('\r\n')
    const headers = lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const
    })
    const length = Number(headers.find(([name]) => name === 'content-length')?.[1] ?? 0)
    if (all.length < headEnd + 4 + length) return null
    this.#chunks.splice(0, this.#chunks.length, all.subarray(headEnd + 4 + length))
    const body = all.subarray(headEnd + 4, headEnd + 4 + length)
    return { status: Number(first.split(' ')[1]), headers, body }
  }

  #more(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(1, limitMs))
      this.#waiting.push(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  #ended(): void {
    this.closed = true
    this.#notify()
  }

  #notify(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }
}

/** Head of a POST with these header lines. */
export const head = (...lines: string[]) =>
  `POST /echo HTTP/1.1\r\nHost: x\r\n${lines.join('\r\n')}\r\n\r\n`
export const post = (body: string) => `${head(`Content-Length: ${Buffer.byteLength(body)}`)}${body}`
export const CHUNKED = 'Transfer-Encoding: chunked'

/** Sends, and gives the status of the answer and whether the connection was closed after it. */
export async function refused(raw: RawClient, ...parts: readonly (string | Uint8Array)[]) {
  raw.send(...parts)
  const [answer] = await raw.answers()
  const closed = await raw.end()
  const text = answer?.body.toString() ?? ''
  const code = text.startsWith('{') ? JSON.parse(text).code : text
  return { status: answer?.status, code, closed }
}
