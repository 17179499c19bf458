/**
 * Whether it was the kernel that ended a process, for want of memory: its SIGKILL looks like that
 * of an operator. The kernel counts before it kills, so the count has grown when the end is seen.
 */

export class OomKills {
  readonly #read: () => number | null
  /** One beat older than the last: a count that grew just before a beat is compared still. */
  #before: number | null
  #last: number | null

  constructor(read: () => number | null) {
    this.#read = read
    this.#before = read()
    this.#last = this.#before
  }

  /** What was counted long ago has nothing to do with the next end. */
  beat(): void {
    this.#before = this.#last
    this.#last = this.#read()
  }

  /** Of a process that ended by SIGKILL. Each kill is the end of one process only. */
  take(): boolean {
    const count = this.#read()
    if (count === null || this.#before === null || count <= this.#before) return false
    this.#before += 1
    this.#last = Math.max(this.#last ?? 0, this.#before)
    return true
  }
}
