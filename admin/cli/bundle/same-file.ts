/** Whether two files hold the same, however large they are. */

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'

/** Null: the second is not there. */
export async function isSameFile(path: string, other: string): Promise<boolean | null> {
  const [one, two] = await Promise.all([stat(path), statOrNull(other)])
  if (two === null) return null
  if (one.ino === two.ino && one.dev === two.dev) return true
  if (!two.isFile() || one.size !== two.size) return false
  const [first, second] = await Promise.all([digestOf(path), digestOf(other)])
  return first === second
}

async function statOrNull(path: string) {
  try {
    return await stat(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw error
  }
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}
