/**
 * Goal: a file of a million rows becomes a table in seconds and in memory that does not grow with
 * it; on a full disk the building fails and leaves nothing.
 *
 * Method: a process of its own for the large file, whose time and memory are printed; a file system
 * that is too small, where the machine lets one be mounted.
 */

import { execFile } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readdirSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { compiled } from '../../../bench/paths.ts'
import type { TablePlan } from '../../../core/bundle/plan.ts'
import { Table } from '../../../workers/lookup/table.ts'
import { effort, sayEffort } from '../../tools/effort.ts'
import { runForge } from '../../tools/forge-child.ts'
import { smallDisk, whyNoSmallDisk } from '../../tools/small-disk.ts'
import { bundleFolder } from '../../tools/tables.ts'

const run = promisify(execFile)

t.test('a large file in little memory', { timeout: 240_000 }, async (t) => {
  const directory = bundleFolder(t)
  const rows = effort(200_000, 1_000_000)
  const bytes = writeLarge(join(directory, 'big.csv'), rows)
  const child = compiled('test/tools/table-child.ts')
  const { stdout } = await run(process.execPath, [child, directory, 'big.csv'])
  const { built, ms, cpuMs, peakMib, steps } = JSON.parse(stdout)
  t.equal(built.plan.rows, rows)
  t.ok(steps > 10, 'progress is told on the way')
  const getUs = await readLarge(directory, built.plan, rows)
  sayEffort({ rows, mib: Math.round(bytes / 2 ** 20), ms, cpuMs, peakMib, getUs })
  t.ok(peakMib < 500, `${peakMib} MiB at most`)
  t.ok(cpuMs < 15_000 * Math.max(0.5, rows / 1_000_000), `${cpuMs} ms of CPU for ${rows} rows`)
})

const noDisk = whyNoSmallDisk()

t.test('a full disk', { skip: noDisk ?? false }, async (t) => {
  const disk = smallDisk(t, 12 * 1024 * 1024)
  const rows = 60_000
  writeLarge(join(disk.path, 'big.csv'), rows)
  const child = compiled('test/tools/table-child.ts')
  const failure = await run(process.execPath, [child, disk.path, 'big.csv']).then(
    () => null,
    (error: unknown) => error,
  )
  t.match(failure, { code: 1, signal: null, stderr: /ENOSPC|ERR_DISK_FULL/ })
  t.strictSame(readdirSync(join(disk.path, '.switchyard/tables')), [], 'nothing is left')
})

t.test('a full disk is told by the forge, with its table', { skip: noDisk ?? false }, async (t) => {
  const disk = smallDisk(t, 8 * 1024 * 1024)
  const directory = join(disk.path, 'generation')
  mkdirSync(directory)
  const manifest = {
    formatVersion: 1,
    tables: [{ name: 'people', file: 'people.csv', key: ['id'] }],
    endpoints: [{ id: 'l', type: 'DATASET_LOOKUP', lookups: [{ table: 'people' }] }],
  }
  const name = 'x'.repeat(80)
  const lines = Array.from({ length: 60_000 }, (_, i) => `${(i * 7_919) % 60_000},${name}`)
  const entries = [
    { name: 'service.json', data: JSON.stringify(manifest) },
    { name: 'people.csv', data: `id,name\n${lines.join('\n')}\n` },
  ]
  const done = await runForge(entries, { directory })
  t.teardown(() => done.remove())
  t.match(done.verdict, {
    kind: 'refused',
    code: 'ERR_DISK_FULL',
    faults: [{ path: 'tables[0].file', reason: /^people\.csv does not fit as a table: / }],
  })
})

function writeLarge(path: string, rows: number): number {
  const file = openSync(path, 'w')
  let bytes = writeSync(file, 'id,country,segment,age,income,active,since,comment\n')
  for (let start = 0; start < rows; start += 10_000) {
    const lines: string[] = []
    for (let i = start; i < Math.min(rows, start + 10_000); i++) {
      const id = (i * 7_919) % rows
      const income = (id * 1.37).toFixed(2)
      const text = `a comment about number ${id} that is as long as such are`
      const day = `2020-01-0${1 + (id % 9)}`
      lines.push(`C${id},FR,seg-${id % 40},${id % 90},${income},${id % 2 === 0},${day},${text}`)
    }
    bytes += writeSync(file, `${lines.join('\n')}\n`)
  }
  closeSync(file)
  return bytes
}

/** Microseconds for one row, of random ones. */
async function readLarge(directory: string, plan: TablePlan, rows: number): Promise<number> {
  const table = new Table(directory, join(directory, '../run'), plan)
  const startMs = performance.now()
  const gets = 50_000
  for (let i = 0; i < gets; i++) {
    const id = (i * 104_729) % rows
    const found = table.find([`C${id}`])
    if ('kind' in found || found[3] !== String(id % 90)) throw new Error(`row ${id} is wrong`)
  }
  const us = ((performance.now() - startMs) * 1_000) / gets
  await table.close()
  return Math.round(us * 100) / 100
}
