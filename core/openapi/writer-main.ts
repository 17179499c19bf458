/** Entry of the thread that writes the documents of one service, and ends. */

import { parentPort } from 'node:worker_threads'
import { assert } from '../base/assert.ts'
import type { EndpointPlan } from '../bundle/plan.ts'
import { serviceDocument } from './document.ts'
import { swaggerOf } from './swagger.ts'
import type { ToDocumentWriter, WrittenDocuments } from './writer-protocol.ts'

const port = parentPort
assert(port !== null, 'the writer is a thread')
const endpoints: EndpointPlan[] = []

port.on('message', (message: ToDocumentWriter) => {
  if (message.kind === 'endpoint') {
    endpoints.push(message.endpoint)
    return
  }
  if (message.kind === 'end') {
    port.close()
    return
  }
  const { plan, ...of } = message.service
  const document = serviceDocument({ ...of, plan: { ...plan, endpoints } })
  // Copied out of the pool of small buffers, which is not ours to hand over.
  const bytesOf = (value: object) => new Uint8Array(Buffer.from(JSON.stringify(value)))
  const openapi = bytesOf(document)
  const swagger = bytesOf(swaggerOf(document))
  const written: WrittenDocuments = { openapi, swagger }
  port.postMessage(written, [openapi.buffer, swagger.buffer])
  port.close()
})
