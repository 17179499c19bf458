/**
 * How many files the processes of this node may have open, and so how many connections. A
 * connection is a file: where they take the last one, no thread can start any more, and the query
 * listener spins on what it can neither accept nor refuse.
 */

import { existsSync, readFileSync } from 'node:fs'
import type { Logger } from '../core/base/logger.ts'
import type { Config } from '../core/config/config.ts'

const OPEN_FILES_MIN = 16_384
/** For threads, models, the state and the bundles; of a low limit at most the half. */
const RESERVED_MAX = 1_024

/** The settings with as many connections as the limit of open files leaves room for. */
export function withinOpenFiles(config: Config, logger: Logger): Config {
  const openFiles = openFilesMax()
  if (openFiles === null) return config
  const room = openFiles - Math.min(RESERVED_MAX, Math.floor(openFiles / 2))
  const connectionsMax = Math.min(config.connectionsMax, room)
  if (openFiles < OPEN_FILES_MIN) {
    const figures = { openFiles, wanted: OPEN_FILES_MIN, connectionsMax }
    logger.warn(figures, 'few open files: raise "ulimit -n"')
  }
  return { ...config, connectionsMax }
}

/** Node has raised the soft limit to the hard one by now, so this is what counts. */
function openFilesMax(): number | null {
  if (!existsSync('/proc/self/limits')) return null
  const limits = readFileSync('/proc/self/limits', 'utf8')
  const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1]
  return soft === undefined ? null : Number(soft)
}
