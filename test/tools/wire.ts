/** A wire to a server on loopback that a test can cut off, or make silent, while both ends live. */

import { connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

export class Wire {
  /** New connections are closed as soon as they are made. */
  refuses = false
  port = 0
  readonly #pairs = new Set<readonly [Socket, Socket]>()
  #isSilent = false

  /** While silent nothing passes, in no direction, and nobody is told. */
  set silent(isSilent: boolean) {
    this.#isSilent = isSilent
    for (const pair of this.#pairs) this.#join(pair)
  }

  /** Settles when it can be connected to. */
  async open(t: Pick<Test, 'teardown'>, target: number): Promise<this> {
    const server = createServer((near) => {
      if (this.refuses) near.destroy()
      else this.#add(near, connect(target, '127.0.0.1'))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    this.port = typeof address === 'object' && address !== null ? address.port : 0
    t.teardown(() => {
      server.close()
      for (const [near, far] of this.#pairs) {
        near.destroy()
        far.destroy()
      }
    })
    return this
  }

  #add(near: Socket, far: Socket): void {
    const pair = [near, far] as const
    this.#pairs.add(pair)
    for (const socket of pair) {
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#pairs.delete(pair)
        near.destroy()
        far.destroy()
      })
    }
    this.#join(pair)
  }

  #join([near, far]: readonly [Socket, Socket]): void {
    if (this.#isSilent) {
      near.unpipe(far).pause()
      far.unpipe(near).pause()
    } else {
      near.pipe(far)
      far.pipe(near)
    }
  }
}
