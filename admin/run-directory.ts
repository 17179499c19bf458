/**
 * The folder for the sockets and working folders of child processes. Nothing in it outlives the
 * node, so a start empties it.
 */

import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Sockets have a name of up to 24 bytes in it, and their path may take 103 on the strictest system.
 */
const PATH_BYTES_MAX = 78

export interface RunDirectory {
  readonly path: string
  /** When no child is left. */
  discard(): void
}

/** Below the data directory, which is locked by now; where that lies too deep, elsewhere. */
export function openRunDirectory(home: string): RunDirectory {
  const path = join(home, 'run')
  rmSync(path, { recursive: true, force: true })
  if (Buffer.byteLength(path) > PATH_BYTES_MAX) {
    // Made 0700 and under a name that nobody can have guessed.
    const short = mkdtempSync(join(tmpdir(), 'switchyard-'))
    return { path: short, discard: () => rmSync(short, { recursive: true, force: true }) }
  }
  mkdirSync(path, { mode: 0o700 })
  // Whatever the umask was: others see neither what children write nor their sockets.
  chmodSync(path, 0o700)
  return { path, discard: () => rmSync(path, { recursive: true, force: true }) }
}
