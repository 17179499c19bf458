/**
 * Goal: threads with models of long runs collect their small garbage now and then, and no others.
 *
 * Method: a thread of a process that was started as serving ones are runs a model of long runs; V8
 * itself says which collections were asked for. Calls with made-up times say after which runs, and
 * how often. What it is good for in memory is a figure of the bench (row 8).
 */

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { ALLOCATOR } from '../../../admin/serving/serve-process.ts'
import { compiled } from '../../../bench/paths.ts'
import { GARBAGE_FLAGS } from '../../../core/base/garbage.ts'
import { collectAfter } from '../../../workers/onnx/small-garbage.ts'
import { denseModel } from '../../tools/dense-model.ts'
import type { LongRuns } from '../../tools/long-runs-child.ts'

const directory = mkdtempSync(join(tmpdir(), 'switchyard-garbage-'))
t.teardown(() => rmSync(directory, { recursive: true }))

interface Runs {
  readonly width: number
  readonly runs: number
  readonly rows: number
}

async function inThread(flags: readonly string[], { width, runs, rows }: Runs): Promise<LongRuns> {
  const model = join(directory, `${width}.onnx`)
  writeFileSync(model, denseModel({ width, layers: 2, seed: 1 }))
  const child = compiled('test/tools/long-runs-child.ts')
  const args = [...flags, child, model, String(runs), String(rows)]
  const env = { ...process.env, ...ALLOCATOR }
  const { stdout } = await promisify(execFile)(process.execPath, args, { env })
  return JSON.parse(stdout)
}

t.test('a thread of a serving process', async (t) => {
  const long = { width: 2_000, runs: 150, rows: 16 }
  const { tookMs, collections } = await inThread(GARBAGE_FLAGS, long)
  t.ok(collections >= 2, `${collections} in ${tookMs} ms`)
  t.ok(collections <= tookMs / 100 + 1)
  t.equal((await inThread([], long)).collections, 0, 'a process that was started otherwise')
})

t.test('at most every tenth of a second, and after long runs only', async (t) => {
  const asked: object[] = []
  const before = globalThis.gc
  t.teardown(() => {
    globalThis.gc = before
  })
  globalThis.gc = ((options: object) => void asked.push(options)) as NodeJS.GCFunction
  const at = 1e9
  const collects = (ranMs: number, endedMs: number): boolean => {
    collectAfter(ranMs, endedMs)
    return asked.splice(0).length > 0
  }
  t.notOk(collects(0.5, at), 'a short run')
  t.ok(collects(2, at))
  t.notOk(collects(50, at + 99), 'the next one')
  t.ok(collects(50, at + 101))
})
