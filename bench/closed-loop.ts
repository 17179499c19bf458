/**
 * Closed-loop load: every connection sends its next request as soon as the last one is answered.
 * For the cost of one hop at one connection, and to keep a server busy while something else
 * happens.
 */

import { nowMs } from '../core/base/clock.ts'
import type { Connection } from './connection.ts'
import { Load, type LoadOptions, type LoadReport, type RunningLoad } from './load.ts'

export function closedLoop(options: LoadOptions): RunningLoad {
  let stop = () => {}
  const stopped = new Promise<void>((resolve) => {
    stop = resolve
  })
  return { done: drive(options, { stop, stopped }), stop }
}

interface End {
  stop(): void
  readonly stopped: Promise<void>
}

async function drive(options: LoadOptions, end: End): Promise<LoadReport> {
  const load = new Load(options)
  const connections = await load.open()
  let sending = true
  const again = (connection: Connection) => {
    if (sending) load.send(connection, nowMs(), () => again(connection))
  }
  const timer = options.seconds === null ? null : setTimeout(end.stop, options.seconds * 1_000)
  for (const connection of connections) again(connection)
  await end.stopped
  if (timer !== null) clearTimeout(timer)
  sending = false
  return load.finish()
}
