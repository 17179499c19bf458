/** File system steps that survive the loss of power, which plain calls do not. */

import { appendFile, mkdir, open, readdir, rename, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'

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

/** Moves a finished directory to its place, so that after a crash it is there whole or not. */
export async function moveDurably(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true, mode: 0o700 })
  await syncPath(dirname(dirname(to)))
  await rename(from, to)
  await syncPath(dirname(to))
  await syncPath(dirname(from))
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
  await syncPath(dirname(path))
}
