/**
 * Does one of the things that a node does too seldom for a test to wait for it: trims the journal,
 * notes why a model has no compiled form, drops a form. Tells its parent of each change that is
 * acknowledged. Run by failpoints.test.ts, which kills it at failpoints.
 */

import { FormStore } from '../../admin/store/form-store.ts'
import { Home } from '../../admin/store/home.ts'
import { LmdbStore } from '../../admin/store/lmdb-store.ts'
import { armFailpoints } from '../../core/base/failpoints.ts'

const [directory = '', failpoints = '', task = ''] = process.argv.slice(2)
/** Of the journal: with so few each change trims it. */
const ENTRIES_MAX = 10
const CHANGES = 15
const KEY = 'a'.repeat(64)

armFailpoints(failpoints)
const home = await Home.open(directory)
if (task === 'trim') await trim()
else await notes()
await home.close()

async function trim(): Promise<void> {
  const store = await LmdbStore.open(home.state, ENTRIES_MAX)
  const about = { actor: 'test', action: 'change', before: null, after: null }
  for (let i = 0; i < CHANGES; i += 1) {
    const { seq } = await store.commit({ ...about, puts: [], removes: [] })
    process.send?.(seq)
  }
  await store.close()
}

async function notes(): Promise<void> {
  const forms = new FormStore(home.compiled)
  await forms.make()
  // As a start does: what was left unfinished goes first.
  for (const { name, key } of await forms.list()) if (key === null) await forms.drop(name)
  if ((await forms.read(KEY)) === null) {
    await forms.note(KEY, { form: 'original', createdOn: 0, reason: 'of the test' })
  }
  if (task === 'drop') await forms.drop(KEY)
}
