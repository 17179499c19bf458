/** Makes the folder of children's files ready: what an earlier run of the node left there ends. */

import { chmod, mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { killMarked } from './survivors.ts'

const PRIVATE = 0o700

/** Only while no serving process runs: it ends all children that use the folder. */
export async function emptyRunDirectory(runDirectory: string): Promise<void> {
  await mkdir(runDirectory, { recursive: true, mode: PRIVATE })
  await chmod(runDirectory, PRIVATE)
  const names = await readdir(runDirectory)
  // Marks are paths of folders in it, so without a folder there is nobody to look for.
  if (names.length > 0) await killMarked([join(runDirectory, '/')])
  for (const name of names) await rm(join(runDirectory, name), { recursive: true, force: true })
}
