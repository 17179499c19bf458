/**
 * A load at a fixed, modest rate by a timer: it leaves the machine to what is being tested, where
 * the other loops take all they can get. Latency counts from the time at which a request was due.
 */

import { Load, type LoadOptions, type RunningLoad } from '../../bench/load.ts'
import { nowMs } from '../../core/base/clock.ts'

const TICK_MS = 2

export function pacedLoad(options: LoadOptions & { readonly ratePerS: number }): RunningLoad {
  let stopped = false
  const drive = async () => {
    const load = new Load(options)
    const free = [...(await load.open())]
    const startMs = nowMs()
    const dueMs = (index: number) => startMs + (index * 1_000) / options.ratePerS
    let next = 0
    let unsent = 0
    await new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        for (; dueMs(next) <= nowMs(); next++) {
          const connection = free.pop()
          if (connection === undefined) break
          load.send(connection, dueMs(next), () => free.push(connection))
        }
        if (!stopped) return
        clearInterval(timer)
        while (dueMs(next + unsent) <= nowMs()) unsent += 1
        resolve()
      }, TICK_MS)
    })
    return load.finish(unsent)
  }
  return {
    done: drive(),
    stop: () => {
      stopped = true
    },
  }
}
