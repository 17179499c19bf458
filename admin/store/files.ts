/** File system steps that survive the loss of power, which plain calls do not. */

import { appendFile, mkdir, open, rename, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Makes the entries of a directory durable: a rename survives power loss only after this. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Moves a finished directory to its place, so that after a crash it is there whole or not. */
export async function moveDurably(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true, mode: 0o700 })
  await syncDirectory(dirname(dirname(to)))
  await rename(from, to)
  await syncDirectory(dirname(to))
  await syncDirectory(dirname(from))
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
  await syncDirectory(dirname(path))
}
