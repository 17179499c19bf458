/**
 * Goal: the endpoints of a thread go together, also where one of them cannot be released.
 * Method: runtimes whose ends are seen; one of them fails as native code may.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { releaseEndpoints } from '../../workers/endpoints.ts'
import type { Runtime } from '../../workers/runtime.ts'

t.test('one that cannot be released keeps no other', async (t) => {
  const gone: string[] = []
  const run: Runtime['run'] = async () => ({ kind: 'released' })
  const broken: Runtime = { run, release: () => Promise.reject(new Error('it is in use')) }
  const slow: Runtime = {
    run,
    release: async () => {
      await sleep(20)
      gone.push('slow')
    },
  }
  const endpoints = new Map([broken, slow].entries())
  await t.rejects(releaseEndpoints(endpoints), { message: 'it is in use' })
  t.strictSame(gone, ['slow'], 'it is waited for all the same')
})
