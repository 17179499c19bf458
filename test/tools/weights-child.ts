/**
 * A serving process as far as memory is concerned: the threads of one pool, with one generation
 * loaded and run in each. Says what it takes when every thread has run, and stays until it is told
 * to end, so that several can be looked at together.
 */

import { readFileSync } from 'node:fs'
import { SILENT } from '../../core/base/logger.ts'
import type { GenerationPlan } from '../../core/bundle/plan.ts'
import type { CompiledSettings } from '../../core/config/runtimes.ts'
import { CheckedForms } from '../../core/engine/checked-forms.ts'
import { Pool } from '../../core/engine/pool.ts'
import { jobOf } from '../../workers/warm-up.ts'
import { NO_RUNTIMES } from './runtimes.ts'

export interface WeightsRequest {
  readonly directory: string
  readonly plan: GenerationPlan
  readonly threads: number
  readonly compiled: CompiledSettings | null
  readonly body: string
}

async function load(request: WeightsRequest): Promise<void> {
  const { directory, plan, threads, compiled, body } = request
  const settings = { ...NO_RUNTIMES, compiled }
  const checked = new CheckedForms(compiled).of(plan)
  const names = { serviceId: 's', generationId: 'g', directory, plan, settings, checked }
  const pool = await Pool.start({
    setup: { ...names, pool: 'cpu' },
    threads,
    logger: SILENT,
    onThread: () => {},
    onDown: () => {},
  })
  const job = jobOf(body)
  const unsent = {
    ...job,
    isPlain: true,
    copyTo: (bytes: Uint8Array) => bytes.set(job.bytes),
    toJob: () => job,
  }
  for (let round = 0; round < 10; round++) {
    await Promise.all(Array.from({ length: threads }, () => pool.run(unsent)))
  }
  process.send?.('loaded')
}

/** KiB of one line of smaps_rollup, as bytes. */
export function memoryOf(pid: number, line: 'Pss' | 'Private_Dirty'): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  return 1024 * Number(new RegExp(`^${line}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? Number.NaN)
}

process.on('message', (request: WeightsRequest) => void load(request))
