/**
 * The data directory: where state, unpacked generations and uploads are. Paths are only built here
 * and only from ids that match the id rule, so none can lead out of it.
 */

import { randomBytes } from 'node:crypto'
import { chmod, mkdir, rename, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { assert } from '../../core/base/assert.ts'
import { isGenerationId, isServiceId } from '../../core/base/ids.ts'
import { type HomeLock, lockHome } from './lock.ts'

export class Home {
  readonly root: string
  readonly state: string
  readonly generations: string
  readonly staging: string
  readonly #lock: HomeLock

  private constructor(root: string, lock: HomeLock) {
    this.root = root
    this.state = join(root, 'state')
    this.generations = join(root, 'generations')
    this.staging = join(root, 'staging')
    this.#lock = lock
  }

  /** Makes the directory ours alone; throws ERR_STORE_LOCKED while another node uses it. */
  static async open(path: string): Promise<Home> {
    // Model files and digests are nobody else's business, whoever creates them from here on.
    process.umask(0o077)
    const root = resolve(path)
    await mkdir(root, { recursive: true, mode: 0o700 })
    const home = new Home(root, await lockHome(root))
    for (const folder of [home.state, home.generations, home.staging]) {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      await chmod(folder, 0o700)
    }
    return home
  }

  directoryOf(serviceId: string, generationId: string): string {
    assert(isGenerationId(generationId), 'a path is built from a checked generation id')
    return join(this.folderOf(serviceId), generationId)
  }

  folderOf(serviceId: string): string {
    assert(isServiceId(serviceId), 'a path is built from a checked service id')
    return join(this.generations, serviceId)
  }

  /** A path in staging that nobody else uses. */
  stagingPath(purpose: string): string {
    return join(this.staging, `${purpose}-${randomBytes(9).toString('hex')}`)
  }

  /** Frees the disk: first out of the way in one step, then removed file by file. */
  async discard(path: string): Promise<void> {
    const aside = this.stagingPath('discard')
    await rename(path, aside)
    await rm(aside, { recursive: true, force: true })
  }

  async close(): Promise<void> {
    await this.#lock.release()
  }
}
