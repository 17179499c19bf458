/**
 * A thread that runs a model again and again, as a worker does. Says in JSON how long that took and
 * how many collections of the young generation somebody has asked for.
 */

import { constants, PerformanceObserver } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { isMainThread, Worker, workerData } from 'node:worker_threads'
import { nowMs } from '../../core/base/clock.ts'
import { openModel, Tensor } from '../../workers/onnx/session.ts'

export interface LongRuns {
  readonly tookMs: number
  readonly collections: number
}

const [, , path = '', runs = '0', rows = '1'] = process.argv
const FEATURES = 10
/** Collections are told of a little later. */
const TOLD_MS = 100

async function runAll(): Promise<LongRuns> {
  let collections = 0
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      // Of entries of this type, which their general one does not have.
      const { kind, flags } = (entry as unknown as { detail: { kind: number; flags: number } })
        .detail
      const isForced = (flags & constants.NODE_PERFORMANCE_GC_FLAGS_FORCED) !== 0
      if (kind === constants.NODE_PERFORMANCE_GC_MINOR && isForced) collections += 1
    }
  })
  const model = await openModel(workerData.path)
  observer.observe({ entryTypes: ['gc'] })
  const startMs = nowMs()
  for (let i = 0; i < workerData.runs; i++) {
    const values = new Float32Array(workerData.rows * FEATURES)
    await model.run({ x0: new Tensor('float32', values, [workerData.rows, FEATURES]) })
  }
  const tookMs = nowMs() - startMs
  await sleep(TOLD_MS)
  await model.release()
  return { tookMs, collections }
}

if (isMainThread) {
  const given = { path, runs: Number(runs), rows: Number(rows) }
  new Worker(new URL(import.meta.url), { workerData: given })
} else void runAll().then((told) => process.stdout.write(JSON.stringify(told)))
