/**
 * Writes to a store until it is killed: two records per change that must always agree, and a
 * message to the parent for every change that is acknowledged. Run by store.test.ts.
 */

import { Home } from '../../admin/store/home.ts'
import { LmdbStore } from '../../admin/store/lmdb-store.ts'
import type { StateRecord } from '../../admin/store/records.ts'

function service(id: string, createdOn: number): StateRecord {
  return { kind: 'service', record: { id, enabled: true, mapping: [], createdOn } }
}

const home = await Home.open(process.argv[2] ?? '')
const store = await LmdbStore.open(home.state)
for (let count = 1; ; count += 1) {
  const puts = [service('left', count), service('right', count)]
  const about = { actor: 'test', action: 'change', before: null, after: null }
  await store.commit({ ...about, puts, removes: [] })
  process.send?.(count)
}
