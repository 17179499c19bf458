/**
 * Counts starts that came to nothing. A store may pass the walk and end control all the same, later
 * and every time; then the service manager would start the node for ever.
 *
 * A start came to something when it stopped in order, ran for two minutes (which includes the
 * upkeep that writes once a minute), or wrote to the store at all.
 */

import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { failpoint } from '../../core/base/failpoints.ts'
import { isObject } from '../../core/base/json.ts'

const SURVIVED_MS = 120_000
/** After so many in a row the store is suspected. */
export const IN_VAIN_MAX = 5

interface Mark {
  readonly starts: number
  /** Of the store when the start began; see Totals. */
  readonly writes: number
  /** The store was made anew because of this already, and that did not help. */
  readonly isRebuilt: boolean
}

export class Starts {
  readonly #path: string
  #mark: Mark | null
  #timer: NodeJS.Timeout | null = null

  private constructor(path: string, mark: Mark | null) {
    this.#path = path
    this.#mark = mark
  }

  static async open(root: string): Promise<Starts> {
    const path = join(root, 'starting')
    return new Starts(path, markOf(await readFile(path, 'utf8').catch(() => '')))
  }

  /** Whether the store should be made anew although nothing is wrong with it. */
  isSuspect(writes: number): boolean {
    const mark = this.#mark
    return mark !== null && !mark.isRebuilt && this.#inVain(writes) >= IN_VAIN_MAX
  }

  /** Just before the store is opened. A disk that is full keeps no count, which is no harm. */
  async begin(writes: number, isRebuilt: boolean): Promise<void> {
    const inVain = isRebuilt ? 0 : this.#inVain(writes)
    const mark = {
      starts: inVain + 1,
      writes,
      isRebuilt: isRebuilt || (inVain > 0 && this.#mark?.isRebuilt === true),
    }
    this.#mark = mark
    await writeFile(this.#path, JSON.stringify(mark), { mode: 0o600 }).catch(() => {})
    await failpoint('start.counted')
    this.#timer = setTimeout(() => void this.end(), SURVIVED_MS)
    this.#timer.unref()
  }

  /** This start came to something. */
  async end(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    await rm(this.#path, { force: true }).catch(() => {})
  }

  #inVain(writes: number): number {
    return this.#mark !== null && this.#mark.writes === writes ? this.#mark.starts : 0
  }
}

function markOf(text: string): Mark | null {
  try {
    const value: unknown = JSON.parse(text)
    if (!isObject(value)) return null
    const { starts, writes, isRebuilt } = value
    if (typeof starts !== 'number' || typeof writes !== 'number') return null
    return { starts, writes, isRebuilt: isRebuilt === true }
  } catch {
    return null
  }
}
