/**
 * A disk that is small enough to be filled: a file system in memory, and a file in it that takes
 * all that is left, for as long as it should stay full.
 */

import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

const PIECES_BYTES = [4 * 1024 * 1024, 256 * 1024, 4096] as const
const REFILL_MS = 5

export interface SmallDisk {
  readonly path: string
  freeBytes(): number
  /** Takes everything, once. */
  fill(): void
  /** Takes everything, and what becomes free too, until `release`. */
  keepFull(): void
  release(): void
}

/** Why there can be none here; null: there can. */
export function whyNoSmallDisk(): string | null {
  if (process.platform !== 'linux') return 'only Linux has such file systems'
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-disk-'))
  const mounted = mount(folder, 1024 * 1024)
  if (mounted === null) unmount(folder)
  rmSync(folder, { recursive: true, force: true })
  return mounted === null ? null : `nothing can be mounted here: ${mounted}`
}

export function smallDisk(t: Test, bytes: number): SmallDisk {
  const path = mkdtempSync(join(tmpdir(), 'switchyard-disk-'))
  const reason = mount(path, bytes)
  if (reason !== null) throw new Error(reason)
  const filler = join(path, 'filler')
  let timer: NodeJS.Timeout | null = null
  const freeBytes = (): number => {
    const { bavail, bsize } = statfsSync(path)
    return bavail * bsize
  }
  const release = (): void => {
    clearInterval(timer ?? undefined)
    timer = null
    rmSync(filler, { force: true })
  }
  const fill = (): void => take(filler, freeBytes)
  const keepFull = (): void => {
    fill()
    timer ??= setInterval(fill, REFILL_MS)
  }
  t.teardown(() => {
    release()
    unmount(path)
    rmSync(path, { recursive: true, force: true })
  })
  return { path, freeBytes, fill, keepFull, release }
}

function take(filler: string, leftBytes: () => number): void {
  const file = openSync(filler, 'a')
  try {
    for (const bytes of PIECES_BYTES) {
      const piece = Buffer.alloc(bytes)
      while (leftBytes() >= bytes) writeSync(file, piece)
    }
  } catch {
    // Somebody else took the last of it.
  } finally {
    closeSync(file)
  }
}

/** Null, or why it could not be mounted. */
function mount(path: string, bytes: number): string | null {
  const args = ['-t', 'tmpfs', '-o', `size=${bytes}`, 'switchyard-test', path]
  const { error, status, stderr } = spawnSync('mount', args, { encoding: 'utf8' })
  if (error !== undefined) return error.message
  return status === 0 ? null : stderr.trim()
}

function unmount(path: string): void {
  spawnSync('umount', ['--lazy', path])
}
