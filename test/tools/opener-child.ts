/**
 * Opens the state of a data directory as control does, changes it a little, opens it again and
 * prints what it saw. A process of its own, so that one that dies of what it reads is seen to.
 */

import { Home } from '../../admin/store/home.ts'
import { openState } from '../../admin/store/opener.ts'
import type { StateRecord } from '../../admin/store/records.ts'
import { messageOf } from '../../core/base/errors.ts'

/** Enough to use pages that were free, and to see that the wrong ones are not. */
const WRITES = 12

export interface OpenerReport {
  readonly refused: string | null
  readonly rebuilt: boolean
  readonly records: readonly StateRecord[]
  /** Numbers of the journal, newest first, without ours. */
  readonly journal: readonly number[]
  readonly errors: readonly string[]
  /** The second time all was in order, with what the first had written. */
  readonly lasts: boolean
}

const errors: string[] = []
const quiet = (): void => {}
const logger = {
  debug: quiet,
  info: quiet,
  warn: quiet,
  error: (fields: object, message: string) => {
    errors.push(`${message} ${JSON.stringify(fields)}`)
  },
}

function service(i: number): StateRecord {
  const record = { id: `after-${i}`, enabled: true, mapping: [], createdOn: i }
  return { kind: 'service', record }
}

async function once(path: string, isFirst: boolean) {
  const home = await Home.open(path)
  try {
    const state = await openState({ home, logger })
    const records = await state.store.load()
    const journal = (await state.store.journal(100_000)).map(({ seq }) => seq)
    const change = { actor: 'test', action: 'after', before: null, after: 'x'.repeat(3_000) }
    for (let i = 0; isFirst && i < WRITES; i += 1) {
      await state.store.commit({ ...change, puts: [service(i)], removes: [] })
    }
    await state.close()
    return { records, journal, rebuilt: state.isRebuilt }
  } finally {
    await home.close()
  }
}

async function report(path: string): Promise<OpenerReport> {
  try {
    const first = await once(path, true)
    const before = errors.length
    const second = await once(path, false)
    const grown = second.records.length === first.records.length + WRITES
    const lasts = grown && !second.rebuilt && errors.length === before
    return { refused: null, ...first, errors, lasts }
  } catch (error) {
    const nothing = { rebuilt: false, records: [], journal: [], lasts: false }
    return { refused: messageOf(error), ...nothing, errors }
  }
}

process.stdout.write(JSON.stringify(await report(process.argv[2] ?? '')))
