/**
 * The load process: takes one order, drives the server, reports, ends. A process of its own, so
 * that the load never shares an event loop with what starts the servers and switches generations.
 *
 * The order comes by message from the benchmark, or as JSON on the command line:
 *   node dist/bench/drive.js '{"kind":"open","url":"http://…","headers":{},"body":"{…}",
 *                              "connections":64,"seconds":5,"ratePerS":10000}'
 */

import autocannon from 'autocannon'
import { closedLoop } from './closed-loop.ts'
import { Windows } from './latency.ts'
import type { LoadAnswer, LoadOptions } from './load.ts'
import { openLoop } from './open-loop.ts'
import type { LoadOrder, LoadSample } from './sample.ts'

let stop = () => {}
const [, , argument] = process.argv
if (argument !== undefined) {
  console.log(JSON.stringify(await obey(JSON.parse(argument)), null, 2))
} else {
  process.on('message', (message: LoadOrder | 'stop') => {
    if (message === 'stop') stop()
    else void report(message)
  })
}

async function report(order: LoadOrder): Promise<void> {
  const sample = await obey(order)
  process.send?.(sample, () => process.disconnect())
}

function obey(order: LoadOrder): Promise<LoadSample> {
  return order.kind === 'autocannon' ? byAutocannon(order) : byOwnClient(order)
}

async function byOwnClient(order: LoadOrder): Promise<LoadSample> {
  const texts = (order.accepts ?? []).map((text) => Buffer.from(text))
  const accepted = texts.map(() => 0)
  let mismatches = 0
  const windows = order.windowMs === undefined ? null : new Windows(order.windowMs)
  const onAnswer = ({ status, body, intendedMs, answeredMs }: LoadAnswer) => {
    if (status !== 200) return
    const us = (answeredMs - intendedMs) * 1_000
    windows?.recordUs(performance.timeOrigin + intendedMs, us)
    const index = texts.findIndex((text) => body.includes(text))
    if (index >= 0) accepted[index] = (accepted[index] ?? 0) + 1
    else if (texts.length > 0) mismatches += 1
  }
  const { url, headers, connections, seconds } = order
  const options: LoadOptions = {
    url,
    headers,
    connections,
    seconds,
    bodies: order.bodies ?? [order.body],
    ...(order.paths === undefined ? {} : { paths: order.paths }),
    onAnswer,
  }
  const load =
    order.kind === 'open'
      ? openLoop({
          ...options,
          ratePerS: order.ratePerS ?? 1_000,
          sleeps: order.sleeps === true,
        })
      : closedLoop(options)
  stop = load.stop
  const result = await load.done
  const { failed, non2xx, unsent, latencyUs } = result
  return {
    tool: order.kind,
    completed: result.answered,
    failures: failed + non2xx + mismatches + unsent,
    failureKinds: { failed, non2xx, mismatches, unsent },
    seconds: result.seconds,
    perSecond: result.perSecond,
    p50Us: latencyUs.p50,
    p99Us: latencyUs.p99,
    accepted,
    latencyUs,
    lagUs: result.lagUs,
    reasons: result.reasons,
    ...(windows === null ? {} : { windows: windows.list() }),
  }
}

/** Its latencies are whole milliseconds. Answers in flight at its end are no failures. */
async function byAutocannon(order: LoadOrder): Promise<LoadSample> {
  const { url, connections, bodies, paths } = order
  const turns = Array.from({ length: Math.max(bodies?.length ?? 0, paths?.length ?? 0) })
  const requests = turns.map((_, i) => ({
    body: bodies?.[i % bodies.length] ?? order.body,
    ...(paths === undefined ? {} : { path: paths[i % paths.length] ?? '/' }),
  }))
  const result = await autocannon({
    url,
    connections,
    duration: order.seconds ?? 1,
    method: 'POST',
    headers: { 'content-type': 'application/json', ...order.headers },
    ...(order.ratePerS === undefined ? {} : { overallRate: order.ratePerS }),
    ...(requests.length === 0 ? { body: order.body } : { requests }),
  })
  const { errors, timeouts, non2xx, mismatches, resets } = result
  const { sent, total } = result.requests
  const missing = Math.max(0, sent - total - connections)
  const failureKinds = { errors, timeouts, non2xx, mismatches, resets, missing }
  return {
    tool: 'autocannon',
    completed: total,
    failures: Object.values(failureKinds).reduce((sum, count) => sum + count, 0),
    failureKinds,
    seconds: result.duration,
    perSecond: total / result.duration,
    p50Us: result.latency.p50 * 1_000,
    p99Us: result.latency.p99 * 1_000,
  }
}
