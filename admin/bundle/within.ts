/** A wait with an end, which may also be given up. */

export interface Waiting {
  readonly limitMs: number
  /** What it rejects with when the promise has not settled in time. */
  readonly late: () => Error
  /** When aborted, it rejects with the reason; a wait that is over leaves nothing behind in it. */
  readonly signal: AbortSignal
}

export function within<T>(promise: Promise<T>, waiting: Waiting): Promise<T> {
  const { limitMs, late, signal } = waiting
  return new Promise<T>((resolve, reject) => {
    const giveUp = (): void => end(() => reject(signal.reason))
    const timer = setTimeout(() => end(() => reject(late())), limitMs)
    const end = (settle: () => void): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', giveUp)
      settle()
    }
    promise.then(
      (value) => end(() => resolve(value)),
      (error) => end(() => reject(error)),
    )
    signal.addEventListener('abort', giveUp)
    if (signal.aborted) giveUp()
  })
}
