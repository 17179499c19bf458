/** File system steps that survive the loss of power, which plain calls do not. */

import { appendFile, mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { failpoint } from '../../core/base/failpoints.ts'

/**
 * Makes a file's bytes durable, or a directory's entries: a rename survives the loss of power only
 * after the latter.
 */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Flushes all below and including a directory; returns the bytes of its files. */
export async function syncTree(directory: string): Promise<number> {
  let bytes = 0
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) bytes += await syncTree(path)
    else {
      await syncPath(path)
      bytes += (await stat(path)).size
    }
  }
  await syncPath(directory)
  return bytes
}

/**
 * Makes a directory and what is missing above it, each entry durable in its parent. Step by step,
 * since Node's recursive mkdir never returns where none can be made, below /proc for one.
 */
export async function mkdirDurably(path: string): Promise<void> {
  if (await exists(path)) return
  const parent = dirname(path)
  if (parent !== path) await mkdirDurably(parent)
  await mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
    // Somebody else has made it meanwhile; what is there and is no directory fails later, by name.
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  })
  await failpoint('folder.made')
  await syncPath(parent)
}

/** Moves a finished directory to its place, so that after a crash it is there whole or not. */
export async function moveDurably(from: string, to: string): Promise<void> {
  await mkdirDurably(dirname(to))
  await failpoint('move.ready')
  await rename(from, to)
  await failpoint('move.renamed')
  await syncPath(dirname(to))
  await syncPath(dirname(from))
  await failpoint('move.flushed')
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

/** Adds to a file that only the owner can read. */
export async function appendDurably(path: string, text: string): Promise<void> {
  await appendFile(path, text, { mode: 0o600, flush: true })
  await failpoint('append.written')
  await syncPath(dirname(path))
}

/** Writes a whole file that only the owner can read: after a crash the old one or the new one. */
export async function writeDurably(path: string, text: string): Promise<void> {
  const unfinished = `${path}.new`
  try {
    await writeFile(unfinished, text, { mode: 0o600, flush: true })
    await failpoint('write.unnamed')
    await rename(unfinished, path)
  } catch (error) {
    await rm(unfinished, { force: true })
    throw error
  }
  await failpoint('write.named')
  await syncPath(dirname(path))
}
