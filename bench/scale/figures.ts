/** The figures of size: large models, many workers, many services. */

import { count, ROUNDS_MIN, type Row, rowOf } from '../rows.ts'
import type { BigSwitchTrial } from './big-switch.ts'
import type { GrowthTrial } from './growth.ts'
import type { MemoryTrial } from './memory.ts'

export interface ScaleResults {
  readonly bigSwitch: BigSwitchTrial | null
  readonly memory: MemoryTrial | null
  readonly growth: GrowthTrial | null
}

export function scaleRows({ bigSwitch, memory, growth }: ScaleResults): Row[] {
  return [bigSwitchRow(bigSwitch), ...memoryRows(memory), ...growthRows(growth)]
}

const LESS = { moreIsBetter: false } as const

function bigSwitchRow(trial: BigSwitchTrial | null): Row {
  const [during, quiet] = [trial?.switchP99Us ?? Number.NaN, trial?.quietP99Us ?? Number.NaN]
  const figure = 'p99 in the seconds of a switch of a 160 MB model against the other seconds'
  const took = `${count(trial?.tookMs)} ms a switch, ${trial?.switches} switches`
  const failed = trial !== null && trial.failures > 0 ? `, ${trial.failures} FAILED REQUESTS` : ''
  const p99 = `${(during / 1_000).toFixed(1)} ms against ${(quiet / 1_000).toFixed(1)} ms`
  const lag = `client late by ${((trial?.lagP99Us ?? Number.NaN) / 1_000).toFixed(1)} ms`
  const note = `${p99} at ${count(trial?.ratePerS)}/s, ${lag}, ${took}${failed}`
  const sound = trial?.idle === true && trial.switches >= ROUNDS_MIN
  const value = during / quiet
  return rowOf({ row: 7, figure, unit: '', note }, { value, must: 2, aim: 1.2, sound, ...LESS })
}

function megabytes(bytes: number | undefined): string {
  return bytes === undefined ? '-' : `${(bytes / 1e6).toFixed(0)} MB`
}

/** Memory does not depend on who else computes, so it is always judged. */
function memoryRows(trial: MemoryTrial | null): Row[] {
  const { modelBytes, privateBytesPerWorker, pssBytes, pssBytesMax, threads } = trial ?? {}
  const share = (privateBytesPerWorker ?? Number.NaN) / (modelBytes ?? Number.NaN)
  const whole = (pssBytes ?? Number.NaN) / (pssBytesMax ?? Number.NaN)
  return [
    rowOf(
      {
        row: 8,
        figure: 'memory of its own of an added worker thread, as a share of a 160 MB model',
        unit: '',
        note: `${megabytes(privateBytesPerWorker)} of ${megabytes(modelBytes)}`,
      },
      { value: share, must: 0.15, aim: 0.1, sound: true, ...LESS },
    ),
    rowOf(
      {
        row: 16,
        figure: 'memory (PSS) of a 160 MB model in two serving processes against its bound',
        unit: '',
        note: `${megabytes(pssBytes)} of ${megabytes(pssBytesMax)}, ${threads} threads, whole node`,
      },
      { value: whole, must: 1, aim: 1, sound: true, ...LESS },
    ),
  ]
}

function growthRows(trial: GrowthTrial | null): Row[] {
  const { services, loaded, failures = 0 } = trial ?? {}
  const sound = trial?.idle === true
  const spread = `${count(trial?.perSecondSpread)}/s over ${loaded}`
  const rates = `${count(trial?.perSecond)}/s against ${count(trial?.perSecondAlone)}/s, ${spread}`
  // A rate with failed requests in it is no rate.
  const ratio = failures > 0 ? 0 : (trial?.ratio ?? Number.NaN)
  const enough = sound && (trial?.rounds ?? 0) >= ROUNDS_MIN
  const kilobytes = (trial?.bytesPerService ?? Number.NaN) / 1_000
  return [
    rowOf(
      {
        row: 9,
        figure: 'requests/s with 1,000 services deployed and 10 loaded against one service',
        unit: '',
        note: failures > 0 ? `${rates}, ${failures} FAILED REQUESTS` : rates,
      },
      { value: ratio, must: 0.9, aim: 0.98, sound: enough, moreIsBetter: true },
    ),
    rowOf(
      {
        row: 10,
        figure: 'memory of a deployed, active service that is not loaded',
        unit: 'KB',
        note: `${megabytes(trial?.pssBytes)} with ${count(services)} services, ${loaded} loaded`,
      },
      { value: kilobytes, must: 100, aim: 20, sound: true, ...LESS },
    ),
    rowOf(
      {
        row: 17,
        figure: 'start with 1,000 services until it is ready',
        unit: 'ms',
        note: `${loaded} of them loaded`,
      },
      { value: trial?.startMs ?? Number.NaN, must: 5_000, aim: 2_000, sound, ...LESS },
    ),
  ]
}
