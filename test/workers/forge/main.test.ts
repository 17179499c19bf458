/**
 * Goal: the process of a forge ends when its parent does, and at nobody else's word.
 * Method: the real child, to which signals are sent as a terminal sends them.
 */

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { compiled } from '../../../bench/paths.ts'

/** It says nothing before it is asked, and to listen for that is the last that it does. */
const SAYS_WHEN_READY = `data:text/javascript,
  process.on('newListener', (name) => name === 'message' && process.send('listens'))`

t.test('the child outlives Ctrl-C and not its parent', async (t) => {
  const execArgv = ['--import', SAYS_WHEN_READY]
  const child = fork(compiled('workers/forge/main.ts'), { execArgv, stdio: 'ignore' })
  t.teardown(() => child.kill('SIGKILL'))
  const ended = new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }))
  })
  await once(child, 'message')
  child.kill('SIGINT')
  child.kill('SIGTERM')
  await sleep(200)
  t.same([child.exitCode, child.signalCode], [null, null], 'it goes on after both signals')
  child.disconnect()
  t.same(await ended, { code: 0, signal: null })
})
