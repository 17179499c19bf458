/** A directory tree made durable, file by file, before its row says that it is there. */

import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { syncDirectory } from '../store/files.ts'

/** Flushes every file and directory below and including `directory`; returns the bytes of files. */
export async function syncTree(directory: string): Promise<number> {
  let bytes = 0
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    bytes += entry.isDirectory() ? await syncTree(path) : await syncFile(path)
  }
  await syncDirectory(directory)
  return bytes
}

async function syncFile(path: string): Promise<number> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
    return (await handle.stat()).size
  } finally {
    await handle.close()
  }
}
