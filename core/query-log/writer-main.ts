/** Entry of the thread that writes the query log. */

import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { assert } from '../base/assert.ts'
import type { ToWriter } from './protocol.ts'
import { Writer } from './writer.ts'

assert(parentPort !== null, 'the writer is a thread')
run(parentPort)

function run(port: MessagePort): void {
  const tell = port.postMessage.bind(port)
  const writer = new Writer({
    setup: workerData,
    tell: (message, transfer) => tell(message, [...transfer]),
  })
  port.on('message', (message: ToWriter) => {
    writer.receive(message)
    if (message.kind === 'close') port.close()
  })
}
