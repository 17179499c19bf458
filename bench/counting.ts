/**
 * What counting costs: the calls that a request makes to the recorder of a serving process, in a
 * loop over durations as they come. The caches are warmer here than between two requests, so it is
 * the least that they cost.
 */

import { nowMs } from '../core/base/clock.ts'
import { Recorder } from '../core/metrics/recorder.ts'
import { median } from './latency.ts'
import { pseudoRandom } from './workloads/models.ts'

/** Microseconds of one request, by what is counted. */
export interface CountingCost {
  /** Status and total time of the answer: one histogram. */
  readonly answerUs: number
  /** Its wait, and its part of its batch: two histograms. */
  readonly batchUs: number
  /** The key that it came with. */
  readonly keyUs: number
}

/** Requests of a batch; 64 connections make batches of 28 to 56. */
const BATCH = 32
const KEYS = 64
const BATCHES = 5_000
const ROUNDS = 9

export function countingCost(): CountingCost {
  const recorder = new Recorder()
  const endpoint = recorder.endpoint('s', 'g', 'e')
  const random = pseudoRandom(7)
  const waits = Uint32Array.from({ length: BATCH }, () => 50 + 400 * random())
  const totals = Float64Array.from({ length: BATCH }, () => 100 + 2_000 * random() ** 4)
  const keys = Array.from({ length: KEYS }, (_, i) => `key-${i}`)
  const drain = () => recorder.drain({ activeRequests: 0, connections: 0 })
  return {
    answerUs: perRequest(() => {
      for (const us of totals) endpoint.answered(200, us)
    }, drain),
    batchUs: perRequest(() => {
      endpoint.queuedBatch(waits)
      endpoint.batch(BATCH, 180)
    }, drain),
    keyUs: perRequest(() => {
      for (let i = 0; i < BATCH; i++) recorder.keyUsed(keys[i % KEYS] ?? '')
    }, drain),
  }
}

/** Median over rounds; what was counted leaves after each, as control asks for it. */
function perRequest(countBatch: () => void, drain: () => void): number {
  const rounds = Array.from({ length: ROUNDS }, () => {
    const startMs = nowMs()
    for (let i = 0; i < BATCHES; i++) countBatch()
    const us = ((nowMs() - startMs) * 1_000) / (BATCHES * BATCH)
    drain()
    return us
  })
  return median(rounds)
}
