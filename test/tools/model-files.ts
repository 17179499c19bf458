/** Model files for tests of the forge's editor, in a folder that goes with the test. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Piece } from '../../workers/forge/onnx-wire.ts'
import { rewriteZipMaps, type ZipMapResult } from '../../workers/forge/zipmap.ts'

export interface ModelFiles {
  /** Of a file that does not exist yet. */
  newPath(): string
  fileOf(bytes: Uint8Array): string
  rewrite(bytes: Uint8Array): Promise<{ readonly out: string; readonly result: ZipMapResult }>
}

export function modelFiles(t: { teardown(callback: () => void): void }): ModelFiles {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-models-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  let count = 0
  const newPath = (): string => {
    count += 1
    return join(folder, `${count}.onnx`)
  }
  const fileOf = (bytes: Uint8Array): string => {
    const path = newPath()
    writeFileSync(path, bytes)
    return path
  }
  const rewrite = async (bytes: Uint8Array) => {
    const out = newPath()
    return { out, result: await rewriteZipMaps(fileOf(bytes), out) }
  }
  return { newPath, fileOf, rewrite }
}

/** A message of these fields; ranges of another file are left out. */
export function raw(...parts: readonly (readonly Piece[])[]): Buffer {
  return Buffer.concat(parts.flat().map((piece) => (Buffer.isBuffer(piece) ? piece : Buffer.of())))
}
