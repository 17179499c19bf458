/**
 * Limit: `session.run` in a loop on inputs that are ready, without HTTP, JSON or threads. What a
 * server loses against this is what it does beside the model.
 *
 *   node dist/bench/peers/raw.js WORKLOAD ROWS SECONDS
 */

import { descriptionOf, rowsOf, WORKLOAD_NAMES, workloadOf } from '../workloads/workloads.ts'
import { feedsOf, openSession } from './model.ts'

const [, , name, rows = '1', seconds = '1'] = process.argv
const known = WORKLOAD_NAMES.find((one) => one === name)
if (known === undefined) throw new RangeError(`no workload is called "${name}"`)
const workload = workloadOf(known)
const session = await openSession(JSON.parse(descriptionOf(workload)))
const feeds = feedsOf(workload.inputs, rowsOf(workload, Number(rows)))

async function runsIn(milliseconds: number): Promise<{ runs: number; ms: number; cpuUs: number }> {
  const [started, cpu] = [performance.now(), process.cpuUsage()]
  let runs = 0
  for (; performance.now() - started < milliseconds; runs++) await session.run(feeds)
  const { user, system } = process.cpuUsage(cpu)
  return { runs, ms: performance.now() - started, cpuUs: user + system }
}

await runsIn(300)
const { runs, ms, cpuUs } = await runsIn(Number(seconds) * 1_000)
console.log(JSON.stringify({ perSecond: (runs * 1_000) / ms, cpuUsPerRun: cpuUs / runs }))
