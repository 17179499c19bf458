/** Ends a node at a random moment of the operations that it is in the middle of. */

import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { nowMs } from '../../core/base/clock.ts'
import type { Client } from './client.ts'
import type { Kind, Operation } from './history.ts'
import { killAll, type Life, type Strike } from './life.ts'
import type { Random } from './random.ts'

/** In turn, so that every kind is killed as often as the others; an import has most steps. */
export const KINDS: readonly Kind[] = [
  'importGeneration',
  'switchGeneration',
  'deleteGeneration',
  'createKey',
  'importGeneration',
  'deleteService',
  'deleteKey',
  'disableService',
  'createService',
  'enableService',
  'setMapping',
  'changeSettings',
]
/** Of imports, this share is killed in the last milliseconds, where files and record meet. */
const LATE_SHARE = 0.6
const COMMIT_MS = 25

/** Often with a second operation at the same time, of something else. */
export async function randomKill(life: Life, random: Random, kind: Kind): Promise<void> {
  const operations = [await life.choose(kind)]
  const isOfKeys = kind === 'createKey' || kind === 'deleteKey'
  if (!isOfKeys && random.next() < 0.4) operations.push(life.beside())
  const [first] = operations
  const isLate = first?.kind === 'importGeneration' && random.next() < LATE_SHARE
  const afterMs = isLate ? random.next() * COMMIT_MS : momentOf(life.tookMs(kind), random)
  const strike: Strike = async ({ client, started }) => {
    if (isLate) await committing(client, first)
    await elapsed(afterMs)
    await killAll(started)
    return `killed after ${afterMs.toFixed(1)} ms${isLate ? ' of its commit' : ''}`
  }
  await life.round(operations, strike)
}

/** Half of all moments near the end, where an import commits. */
function momentOf(tookMs: number, random: Random): number {
  const share = random.next() < 0.5 ? 0 : 0.85
  return tookMs * (share + random.next() * (1.1 - share))
}

type Import = Extract<Operation, { readonly generation: string }>

/** Until the forge has done its part and the rest begins. */
async function committing(client: Client, { service, generation }: Import): Promise<void> {
  const path = `/services/${service}/generations/${generation}`
  for (let phase = ''; phase !== 'committing'; ) {
    const { body } = await client.admin('GET', path)
    if (body.state === 'imported') return
    phase = body.phase ?? ''
  }
}

/** To a fraction of a millisecond, while answers are still read. */
async function elapsed(ms: number): Promise<void> {
  const endMs = nowMs() + ms
  if (ms > 3) await sleep(ms - 2)
  while (nowMs() < endMs) await turn()
}
