/**
 * What a batch leaves to the garbage collector are small blocks of the thread's malloc heap:
 * values of outputs, parts of messages. They are allocated where the run before has freed its large
 * ones, so the next run finds no place as large and takes new memory. With little garbage a second
 * no collection comes for hundreds of runs, and what the heap has grown by it keeps: 15 to 27 MB a
 * thread with a model of 160 MB, 1 to 3 MB where the young generation is collected now and then.
 */

import { collectYoungGarbage } from '../../core/base/garbage.ts'

/** Shorter runs make garbage so fast that V8 collects it soon, and a collection would be felt. */
const LONG_RUN_MS = 1
const EVERY_MS = 100

let collectedMs = 0

/** To be called after a run that took so long; times are of `nowMs()`. */
export function collectAfter(ranMs: number, endedMs: number): void {
  if (ranMs < LONG_RUN_MS || endedMs - collectedMs < EVERY_MS) return
  collectedMs = endedMs
  collectYoungGarbage()
}
