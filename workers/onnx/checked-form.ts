/**
 * What the threads of a process know together of a compiled form: which one of that key has been
 * read and found good, and who is reading it now. In shared memory, since threads share no other.
 */

/** A thread that has died while it held the lock must not stop the others for ever. */
const WAIT_MS = 120_000

/** For the lock, and for what is good. */
const CELL_BYTES = 16

const LOCK = 0
const FREE = 0
const TAKEN = 1

export class CheckedForm {
  readonly #lock: Int32Array
  /** When the record of the good one was written: a new form has another time. */
  readonly #good: BigInt64Array

  /** Without shared memory the thread is on its own. */
  constructor(cell: SharedArrayBuffer = new SharedArrayBuffer(CELL_BYTES)) {
    this.#lock = new Int32Array(cell, 0, 1)
    this.#good = new BigInt64Array(cell, 8, 1)
  }

  /** Blocks the thread until no other has the lock; call what it returns when done. */
  lock(): () => void {
    while (Atomics.compareExchange(this.#lock, LOCK, FREE, TAKEN) === TAKEN) {
      if (Atomics.wait(this.#lock, LOCK, TAKEN, WAIT_MS) === 'timed-out') break
    }
    return () => {
      Atomics.store(this.#lock, LOCK, FREE)
      Atomics.notify(this.#lock, LOCK, 1)
    }
  }

  isGood(writtenNs: bigint): boolean {
    return Atomics.load(this.#good, 0) === writtenNs
  }

  setGood(writtenNs: bigint): void {
    Atomics.store(this.#good, 0, writtenNs)
  }
}
