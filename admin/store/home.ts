/**
 * The data directory: where state, unpacked generations and uploads are. Paths are only built here
 * and only from ids that match the id rule, so none can lead out of it.
 */

import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { chmod, rename, rm, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { assert } from '../../core/base/assert.ts'
import { AppError } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'
import { isGenerationId, isServiceId } from '../../core/base/ids.ts'
import { mkdirDurably, moveDurably } from './files.ts'
import { type HomeLock, lockHome } from './lock.ts'

export class Home {
  readonly root: string
  readonly state: string
  readonly generations: string
  readonly staging: string
  /** Of Python; made by whoever makes the first. */
  readonly environments: string
  /** Compiled forms of models, a cache; made by whoever makes the first. */
  readonly compiled: string
  /** Queries that services log, one folder each. */
  readonly queryLog: string
  readonly #lock: HomeLock

  private constructor(root: string, lock: HomeLock) {
    this.root = root
    this.state = join(root, 'state')
    this.generations = join(root, 'generations')
    this.staging = join(root, 'staging')
    this.environments = join(root, 'environments')
    this.compiled = join(root, 'compiled')
    this.queryLog = join(root, 'query-log')
    this.#lock = lock
  }

  /** Makes the directory ours alone; throws ERR_STORE_LOCKED while another node uses it. */
  static async open(path: string): Promise<Home> {
    // Model files and digests are nobody else's business, whoever creates them from here on.
    process.umask(0o077)
    const root = resolve(path)
    await mkdirDurably(root)
    const home = new Home(root, await lockHome(root))
    try {
      await failpoint('home.locked')
      await home.#makeFolders()
    } catch (error) {
      await home.close()
      throw error
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
    this.#makeStaging()
    return join(this.staging, `${purpose}-${randomBytes(9).toString('hex')}`)
  }

  /** Frees the disk: first out of the way in one step, then removed file by file. */
  async discard(path: string): Promise<void> {
    const aside = this.stagingPath('discard')
    // A full disk may have no room for the new name; what is left of a crash, a start removes.
    const moved = await rename(path, aside).then(
      () => aside,
      () => path,
    )
    await failpoint('discard.aside')
    await rm(moved, { recursive: true, force: true })
    await failpoint('discard.gone')
  }

  /** Keeps what nobody knows, out of the way of what is known; returns where. */
  async setAside(serviceId: string, generationId: string): Promise<string> {
    const name = `${generationId}-${randomBytes(4).toString('hex')}`
    const target = join(this.root, 'unknown', serviceId, name)
    await moveDurably(this.directoryOf(serviceId, generationId), target)
    return target
  }

  async close(): Promise<void> {
    await this.#lock.release()
  }

  /** Whoever cleans up may take it for rubbish while the node runs; nothing in it is for long. */
  #makeStaging(): void {
    try {
      mkdirSync(this.staging, { mode: 0o700 })
    } catch {
      // It is there, as nearly always; whatever else is wrong, the use of the path tells.
    }
  }

  async #makeFolders(): Promise<void> {
    for (const folder of [this.state, this.generations, this.staging]) {
      await mkdirDurably(folder)
      await chmod(folder, 0o700)
    }
    const [from, to] = await Promise.all([stat(this.staging), stat(this.generations)])
    if (from.dev === to.dev) return
    // Said now, for else every import would fail at its last step.
    const why = 'a finished bundle is moved from one to the other in one step'
    const detail = `${this.staging} and ${this.generations} must be on one file system: ${why}`
    throw new AppError('ERR_STORE_FAILED', detail)
  }
}
