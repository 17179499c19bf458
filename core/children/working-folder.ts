/**
 * The private folder of a child. Its working directory shows the files of the generation as links:
 * relative paths can be read, while new files end up here and go with the child.
 */

import { randomBytes } from 'node:crypto'
import { mkdir, readdir, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'

const PRIVATE = 0o700

export interface WorkingFolder {
  readonly root: string
  /** Where the child runs. */
  readonly work: string
  readonly home: string
  readonly temporary: string
}

/** Folders and marks of one run of the program start with this; process ids come again. */
export function folderPrefix(runDirectory: string): string {
  return join(runDirectory, `${process.pid}-${randomBytes(4).toString('hex')}-`)
}

export async function makeWorkingFolder(
  prefix: string,
  generation: string,
): Promise<WorkingFolder> {
  const root = prefix + randomBytes(8).toString('hex')
  const folder = {
    root,
    work: join(root, 'work'),
    home: join(root, 'home'),
    temporary: join(root, 'tmp'),
  }
  try {
    await mkdir(root, { mode: PRIVATE })
    for (const path of [folder.work, folder.home, folder.temporary]) {
      await mkdir(path, { mode: PRIVATE })
    }
    for (const name of await readdir(generation)) {
      await symlink(join(generation, name), join(folder.work, name))
    }
    return folder
  } catch (error) {
    await removeWorkingFolder(folder).catch(() => {})
    throw error
  }
}

/** Removes links, never what they lead to. */
export function removeWorkingFolder(folder: WorkingFolder): Promise<void> {
  return rm(folder.root, { recursive: true, force: true, maxRetries: 3 })
}
