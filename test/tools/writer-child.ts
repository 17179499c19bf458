/**
 * The thread that writes the query log, with accidents: it is the real one, but while there is a
 * FIFO `stuck` beside the logs it waits in a system call until the test lets it go, and where it
 * finds a file `fails` it removes it and dies of an error.
 */

import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import type { ToWriter } from '../../core/query-log/protocol.ts'
import { Writer } from '../../core/query-log/writer.ts'

const port = parentPort
if (port === null) throw new Error('a thread')
const stuck = join(workerData.directory, 'stuck')
const fails = join(workerData.directory, 'fails')
const writer = new Writer({
  setup: workerData,
  tell: (message, transfer) => port.postMessage(message, [...transfer]),
})

function wait(): void {
  try {
    readFileSync(stuck)
  } catch {
    // The test has let it go before it came to wait.
  }
}

port.on('message', (message: ToWriter) => {
  if (existsSync(stuck)) wait()
  if (existsSync(fails)) {
    rmSync(fails)
    throw new Error('an accident')
  }
  writer.receive(message)
  if (message.kind === 'close') port.close()
})
