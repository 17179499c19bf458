/**
 * Makes a CSV file into a table, in a process of its own so that its memory can be told: prints the
 * rows, the milliseconds and the most memory as one JSON line.
 */

import { buildTable } from '../../workers/lookup/build-table.ts'

const [directory = '', file = ''] = process.argv.slice(2)
const startMs = performance.now()
let steps = 0
const built = await buildTable(
  {
    name: 'big',
    file,
    key: ['id'],
    columns: { age: 'integer', income: 'number', active: 'boolean', since: 'date' },
  },
  {
    directory,
    wantsLmdb: true,
    onProgress: () => {
      steps += 1
    },
  },
)
const ms = Math.round(performance.now() - startMs)
const peakMib = Math.round(process.resourceUsage().maxRSS / 1024)
// Of all threads: what it takes however many others use the machine.
const { user, system } = process.cpuUsage()
const cpuMs = Math.round((user + system) / 1_000)
process.stdout.write(`${JSON.stringify({ built, ms, cpuMs, peakMib, steps })}\n`)
