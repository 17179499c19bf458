/**
 * Uploads one archive as another program would, so that the sending costs the test's own process no
 * time and no memory. Arguments: URL, admin key, path of the archive, `form` or `raw`. Prints the
 * answer as one JSON line.
 */

import { createReadStream, statSync } from 'node:fs'
import http from 'node:http'
import { basename } from 'node:path'
import { pipeline } from 'node:stream/promises'

const [url = '', key = '', path = '', kind = 'form'] = process.argv.slice(2)
const CHUNK_BYTES = 256 * 1024
const BOUNDARY = 'switchyard-upload'

const name = JSON.stringify(basename(path))
const opening =
  kind === 'raw'
    ? ''
    : `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename=${name}\r\n\r\n`
const closing = kind === 'raw' ? '' : `\r\n--${BOUNDARY}--\r\n`

async function* body(): AsyncGenerator<Buffer> {
  if (opening !== '') yield Buffer.from(opening)
  yield* createReadStream(path, { highWaterMark: CHUNK_BYTES })
  if (closing !== '') yield Buffer.from(closing)
}

const startedMs = performance.now()
let sentMs = 0
const request = http.request(url, {
  method: 'POST',
  headers: {
    authorization: `Bearer ${key}`,
    'content-type':
      kind === 'raw' ? 'application/zip' : `multipart/form-data; boundary=${BOUNDARY}`,
    'content-length': opening.length + statSync(path).size + closing.length,
  },
})
request.on('response', async (response) => {
  let text = ''
  for await (const piece of response.setEncoding('utf8')) text += piece
  const answeredMs = performance.now() - startedMs
  const line = { status: response.statusCode, body: JSON.parse(text), sentMs, answeredMs }
  process.stdout.write(`${JSON.stringify(line)}\n`, () => process.exit(0))
})
await pipeline(body, request).catch((error: unknown) => {
  // The node may answer early and hang up; then its answer says more.
  setTimeout(() => {
    process.stdout.write(`${JSON.stringify({ status: 0, body: String(error) })}\n`)
    process.exit(1)
  }, 1_000)
})
sentMs = performance.now() - startedMs
