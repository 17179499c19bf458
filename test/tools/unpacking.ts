/**
 * Unpacks archives for tests, each into a directory of its own inside one that the test removes,
 * and watches that nothing is written beside it.
 */

import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type UnpackResult, unpack } from '../../workers/forge/unpack.ts'

export interface Unpacked {
  readonly result: UnpackResult
  readonly directory: string
  /** Bytes that were written when it ended. */
  readonly written: number
}

export interface Unpacking {
  readonly folder: string
  run(archive: Buffer): Promise<Unpacked>
  /** All reasons of a refusal as lines of `path: reason`; throws when the archive is accepted. */
  refusal(archive: Buffer): Promise<string>
}

interface Test {
  teardown(end: () => void): void
}

export function unpacking(t: Test): Unpacking {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-unpack-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  let count = 0
  const run = async (archive: Buffer) => {
    count += 1
    const place = join(folder, String(count))
    const directory = join(place, 'inside')
    mkdirSync(directory, { recursive: true })
    const path = join(place, 'archive.zip')
    writeFileSync(path, archive)
    let written = 0
    const onProgress = (bytes: number): void => {
      written = bytes
    }
    const result = await unpack(path, directory, { onProgress })
    const around = readdirSync(place).sort().join()
    if (around !== 'archive.zip,inside') throw new Error(`written outside: ${around}`)
    return { result, directory, written }
  }
  const refusal = async (archive: Buffer) => {
    const { result, directory } = await run(archive)
    rmSync(directory, { recursive: true })
    if (result.kind !== 'refused') throw new Error('the archive was accepted')
    return result.faults.map(({ path, reason }) => `${path}: ${reason}`).join('\n')
  }
  return { folder, run, refusal }
}
