/** What a forge that was killed leaves behind, when its processes are gone. */

import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'

/** Sockets that it listened on; the folders of its children are removed with these. */
export async function removeSockets(runDirectory: string, pid: number): Promise<void> {
  // No folder: it started no child.
  const names = await readdir(runDirectory).catch(() => [])
  for (const name of names) {
    if (!name.startsWith(`${pid}-`) || !name.endsWith('.sock')) continue
    await rm(join(runDirectory, name), { force: true }).catch(() => {})
  }
}
