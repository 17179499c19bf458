/**
 * The first admin key on its way to the person who will use it.
 *
 * It lies in a file before the state knows it, so that a node which is killed during its first
 * start has not locked everybody out. At a terminal the file goes once the key was shown; else the
 * log says where it is, at every start until somebody has moved it.
 */

import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../core/base/errors.ts'
import type { Logger } from '../core/base/logger.ts'
import { exists, writeDurably } from './store/files.ts'
import type { Home } from './store/home.ts'

export interface FirstKey {
  /** Null when there was an admin key already. */
  readonly secret: string | null
  wasShown(): Promise<void>
}

/** Makes the secret when none exists yet; calls `keep` before it counts. */
export type MakeFirstKey = (keep: (secret: string) => Promise<void>) => Promise<string | null>

export interface FirstKeyOptions {
  readonly home: Home
  readonly logger: Logger
  /** A person will read it, and then the file goes. */
  readonly keyIsShown: boolean
}

export async function prepareFirstKey(
  { home, logger, keyIsShown }: FirstKeyOptions,
  make: MakeFirstKey,
): Promise<FirstKey> {
  const path = join(home.root, 'first-admin-key')
  const secret = await make((text) => writeDurably(path, `${text}\n`))
  const isToBeShown = keyIsShown && secret !== null
  if (!isToBeShown && (await exists(path))) {
    logger.warn({ path }, 'the first admin key is in this file: move it to a safe place')
  }
  const wasShown = async (): Promise<void> => {
    await rm(path, { force: true }).catch((error: unknown) => {
      logger.warn({ path, reason: messageOf(error) }, 'the first admin key stays in this file')
    })
  }
  return { secret, wasShown }
}
