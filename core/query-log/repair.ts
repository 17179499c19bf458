/**
 * Cuts what a process has left half-written when it was killed, or when the power went: behind the
 * last line that is whole, there is nothing that anybody could read.
 */

import { closeSync, fstatSync, ftruncateSync, openSync, readdirSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { logFileOf } from './file-names.ts'
import { isWriting } from './processes.ts'

const LINE_FEED = 10
/** More than a line can be long, and what a file system can have filled with zeros. */
const TAIL_BYTES = 4 * 1024 * 1024

/** Files of this process do not exist yet: those with its number are of one that had it before. */
export function repairAll(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue
    const folder = join(directory, entry.name)
    for (const name of readdirSync(folder)) {
      const file = logFileOf(name)
      if (file === null || (file.pid !== process.pid && isWriting(file))) continue
      repairIfPossible(join(folder, name))
    }
  }
}

/** One that cannot be mended is no reason to leave the others. */
function repairIfPossible(path: string): void {
  try {
    repairFile(path)
  } catch {
    // Removed meanwhile, or not ours to write.
  }
}

function repairFile(path: string): void {
  const file = openSync(path, 'r+')
  try {
    const { size } = fstatSync(file)
    const last = readAt(file, size - 1, 1)
    if (size === 0 || last[0] === LINE_FEED) return
    const start = Math.max(0, size - TAIL_BYTES)
    const tail = readAt(file, start, size - start)
    const zero = tail.indexOf(0)
    const sound = zero < 0 ? tail : tail.subarray(0, zero)
    ftruncateSync(file, start + sound.lastIndexOf(LINE_FEED) + 1)
  } finally {
    closeSync(file)
  }
}

function readAt(file: number, position: number, bytes: number): Buffer {
  if (position < 0) return Buffer.alloc(0)
  const buffer = Buffer.alloc(bytes)
  return buffer.subarray(0, readSync(file, buffer, 0, bytes, position))
}
