/**
 * Where R children connect to: base R has no client for Unix sockets and cannot use a descriptor
 * that it inherits, so it is loopback TCP. Any process of the machine can connect there, so a
 * connection counts only when its first line is the token of a child that is waited for.
 */

import { randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type Server, type Socket } from 'node:net'
import { AppError } from '../../core/base/errors.ts'

const TOKEN_BYTES = 32
/** In hex, and the end of the line. */
const LINE_BYTES = 2 * TOKEN_BYTES + 1
/** A stranger that says nothing is dropped after this; the oldest before, if they are many. */
const STRANGER_MS = 5_000
const STRANGERS_MAX = 32

export interface Awaited {
  readonly token: string
  readonly socket: Promise<Socket>
  /** Nobody is waited for any more. */
  forget(): void
}

export class Listener {
  readonly #server: Server
  readonly #awaited = new Map<string, (socket: Socket) => void>()
  readonly #strangers = new Set<Socket>()
  readonly #children = new Set<Socket>()
  readonly port: number

  private constructor(server: Server, port: number) {
    this.#server = server
    this.port = port
    server.on('connection', (socket: Socket) => this.#greet(socket))
    // Without descriptors left nothing is accepted; the start of a child has its own deadline.
    server.on('error', () => {})
  }

  static async open(): Promise<Listener> {
    const server = createServer()
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', resolve)
    })
    const address = server.address()
    if (address === null || typeof address === 'string') throw new AppError('ERR_INTERNAL')
    return new Listener(server, address.port)
  }

  expect(): Awaited {
    const token = randomBytes(TOKEN_BYTES).toString('hex')
    const socket = new Promise<Socket>((resolve) => {
      this.#awaited.set(token, resolve)
    })
    return { token, socket, forget: () => void this.#awaited.delete(token) }
  }

  /** Ends all connections too. */
  async close(): Promise<void> {
    this.#awaited.clear()
    for (const socket of [...this.#strangers, ...this.#children]) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #greet(socket: Socket): void {
    socket.on('error', () => {})
    socket.setNoDelay(true)
    this.#strangers.add(socket)
    for (const oldest of this.#strangers) {
      if (this.#strangers.size <= STRANGERS_MAX) break
      this.#strangers.delete(oldest)
      oldest.destroy()
    }
    const timer = setTimeout(() => socket.destroy(), STRANGER_MS)
    socket.once('close', () => {
      clearTimeout(timer)
      this.#strangers.delete(socket)
      this.#children.delete(socket)
    })
    const readLine = (): void => {
      // Null until the whole line is there.
      const line: unknown = socket.read(LINE_BYTES)
      if (!Buffer.isBuffer(line)) return
      socket.off('readable', readLine)
      clearTimeout(timer)
      this.#strangers.delete(socket)
      this.#admit(socket, line)
    }
    socket.on('readable', readLine)
  }

  /** A token opens once. */
  #admit(socket: Socket, line: Buffer): void {
    for (const [token, resolve] of this.#awaited) {
      const expected = Buffer.from(`${token}\n`)
      if (line.length !== expected.length || !timingSafeEqual(line, expected)) continue
      this.#awaited.delete(token)
      this.#children.add(socket)
      resolve(socket)
      return
    }
    socket.destroy()
  }
}
