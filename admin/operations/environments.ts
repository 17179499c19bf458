/**
 * Removes virtual environments that no generation needs any more. They are shared by all who need
 * the same packages, so none of them belongs to one generation, and they can be made again: a
 * generation that misses its environment makes it when it is loaded.
 *
 * Only between imports: one that is under way may have made an environment whose generation is not
 * committed yet, or may rely on one that a deletion has just left without any.
 */

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../../core/base/errors.ts'
import type { Logger } from '../../core/base/logger.ts'
import type { Home } from '../store/home.ts'
import { needsOf } from '../store/thin-generation.ts'
import type { Catalog } from './catalog.ts'
import type { Context } from './context.ts'

/** The hash, and behind a dot the name of one that is being made. */
const OURS = /^([0-9a-f]{64})(\.[0-9a-f]{12})?$/

export interface EnvironmentsInput {
  readonly home: Home
  readonly catalog: Catalog
  readonly logger: Logger
}

/**
 * Returns their names; null: none was looked at, since an import is under way. Nobody waits for
 * imports with this, for it is done again and again.
 */
export async function removeUnusedEnvironments(
  context: Context,
): Promise<readonly string[] | null> {
  const { forging, imports } = context
  if (imports.count > 0 || !forging.isIdle) return null
  // In the queue of the forge, so that none begins meanwhile.
  return forging.run(() => removeUnused(context, { unfinished: false }))
}

/** Returns their names. At a start nobody makes one, so those that were never finished go too. */
export async function removeUnused(
  { home, catalog, logger }: EnvironmentsInput,
  { unfinished }: { readonly unfinished: boolean },
): Promise<readonly string[]> {
  const used = hashesOf(catalog)
  const removed: string[] = []
  for (const name of await readdir(home.environments).catch(() => [])) {
    const [, hash, suffix] = OURS.exec(name) ?? []
    if (hash === undefined) continue
    const isRubbish = suffix === undefined ? !used.has(hash) : unfinished
    if (!isRubbish) continue
    try {
      await home.discard(join(home.environments, name))
      removed.push(name)
      logger.info({ name }, 'removed a Python environment that nobody needs')
    } catch (error) {
      logger.warn({ name, reason: messageOf(error) }, 'a Python environment stays behind')
    }
  }
  return removed
}

function hashesOf(catalog: Catalog): ReadonlySet<string> {
  const records = catalog.services().flatMap(({ id }) => catalog.generations(id))
  return new Set(records.flatMap((record) => needsOf(record).environments))
}
