/**
 * Has the documents of a service written by a thread of its own: for a service of a thousand
 * endpoints that takes half a second, which no prediction may wait for. Even handing the plan over
 * takes a while, for it is copied, so that is done in slices.
 */

import { extname } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { nowMs } from '../base/clock.ts'
import type { DescribedService } from './document.ts'
import type { ToDocumentWriter, WrittenDocuments } from './writer-protocol.ts'

/** Compiled, the thread is a .js file; run from source it is a .ts file, as this one. */
const WRITER_URL = new URL(
  `./writer-main${extname(new URL(import.meta.url).pathname)}`,
  import.meta.url,
)
/** What comes in meanwhile waits no longer than for this, or for one endpoint that takes more. */
const SLICE_MS = 1

let last: Promise<unknown> = Promise.resolve()

/** One after the other: a thread takes a core from predictions. */
export function writeDocuments(service: DescribedService): Promise<WrittenDocuments> {
  const written = last.then(() => write(service))
  last = written.catch(() => {})
  return written
}

async function write(service: DescribedService): Promise<WrittenDocuments> {
  const worker = new Worker(WRITER_URL)
  const written = new Promise<WrittenDocuments>((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
    worker.once('exit', () => reject(new Error('the thread has ended without a document')))
  })
  // Looked at below; a thread that ends before must not be an unhandled rejection.
  written.catch(() => {})
  const tell = (message: ToDocumentWriter) => worker.postMessage(message)
  try {
    await tellAll(service, tell)
  } catch (error) {
    tell({ kind: 'end' })
    throw error
  }
  return written
}

async function tellAll(
  service: DescribedService,
  tell: (message: ToDocumentWriter) => void,
): Promise<void> {
  let sinceMs = nowMs()
  for (const endpoint of service.plan.endpoints) {
    tell({ kind: 'endpoint', endpoint })
    if (nowMs() - sinceMs < SLICE_MS) continue
    await nextTurn()
    sinceMs = nowMs()
  }
  tell({ kind: 'write', service: { ...service, plan: { ...service.plan, endpoints: [] } } })
}
