/**
 * A process that does nothing but log queries, to be killed: about 4,000 a second of very different
 * sizes, each with its number. What has been recorded is said on stdout, with the time.
 *
 * node logging-child.js DIRECTORY FIRST_NUMBER
 */

import { writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { wallMs } from '../../core/base/clock.ts'
import { SILENT } from '../../core/base/logger.ts'
import { QueryLog } from '../../core/query-log/query-log.ts'
import { ALL, pendingOf } from './logged.ts'

const [, , directory = '', first = '0'] = process.argv
const BATCH = 20
const PAUSE_MS = 5
const TEXT = 'žluťoučký kůň '.repeat(5_000)

const settings = { directory, fileBytesMax: 2 * 1024 * 1024, totalBytesMax: 1024 ** 3 }
const log = new QueryLog({ settings, logger: SILENT })
const service = { serviceId: 'svc', enabled: true, mapping: [], queryLog: ALL }
await log.prepare([service])
const endpoint = log.logOf(service, 'v1', 'score')
let n = Number(first)
for (;;) {
  for (let i = 0; i < BATCH; i++) {
    const text = TEXT.slice(0, n % 400 === 0 ? 30_000 : n % 500)
    endpoint?.record(pendingOf({ body: JSON.stringify({ n, text }) }), 200, '{"ok":true}')
    n += 1
  }
  writeSync(1, `${n} ${wallMs()}\n`)
  await sleep(PAUSE_MS)
}
