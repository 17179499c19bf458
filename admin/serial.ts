/** Promise queues: what changes one thing runs one after the other, in the order of asking. */

export class SerialQueue {
  #tail: Promise<unknown> = Promise.resolve()
  #tasks = 0

  /** Whether a task would begin at once. */
  get isIdle(): boolean {
    return this.#tasks === 0
  }

  run<T>(task: () => Promise<T>): Promise<T> {
    this.#tasks += 1
    const result = this.#tail.then(task).finally(() => {
      this.#tasks -= 1
    })
    // The next in line waits for the end of this task, whatever that end is.
    this.#tail = result.catch(() => {})
    return result
  }
}

/** One queue per key, forgotten when nobody waits in it. */
export class SerialQueues {
  readonly #queues = new Map<string, { queue: SerialQueue; waiting: number }>()

  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const entry = this.#queues.get(key) ?? { queue: new SerialQueue(), waiting: 0 }
    this.#queues.set(key, entry)
    entry.waiting += 1
    try {
      return await entry.queue.run(task)
    } finally {
      entry.waiting -= 1
      if (entry.waiting === 0) this.#queues.delete(key)
    }
  }
}
