/**
 * Operations that wait for something to show in what serve reports. Each wait is bounded, and each
 * report settles all waits that it answers, so nobody polls.
 */

export class Waits<Observation> {
  readonly #open = new Set<(observation: Observation) => void>()

  /** `answer` gives undefined as long as the observation says nothing about it. */
  until<Result>(
    answer: (observation: Observation) => Result | undefined,
    limitMs: number,
    late: Result,
  ): Promise<Result> {
    return new Promise((resolve) => {
      const settle = (result: Result): void => {
        clearTimeout(timer)
        this.#open.delete(look)
        resolve(result)
      }
      const look = (observation: Observation): void => {
        const result = answer(observation)
        if (result !== undefined) settle(result)
      }
      const timer = setTimeout(() => settle(late), limitMs)
      this.#open.add(look)
    })
  }

  look(observation: Observation): void {
    for (const look of [...this.#open]) look(observation)
  }
}
