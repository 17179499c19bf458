/**
 * A copy of the state that holds every change acknowledged until now.
 *
 * A living node makes one within a second after a change. Either it says that its newest copy holds
 * all (see state-copies.ts), or one appears that was made later than now. Without a living node the
 * store itself is read, by a child first, and copied here.
 */

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { nowMs, wallMs } from '../../core/base/clock.ts'
import { AppError } from '../../core/base/errors.ts'
import { exists } from '../store/files.ts'
import { Home } from '../store/home.ts'
import { LmdbStore } from '../store/lmdb-store.ts'
import { lockHolder } from '../store/lock.ts'
import { look } from '../store/opener.ts'
import { currentMark, writeCopy } from '../store/state-copies.ts'
import { copiesFolder, findCopies } from '../store/state-copy.ts'

const WAIT_MS = 30_000
const LOOK_EVERY_MS = 50

/** Its path. */
export async function freshCopy(root: string, say: (line: string) => void): Promise<string> {
  const sinceMs = wallMs()
  const endMs = nowMs() + WAIT_MS
  while (nowMs() < endMs) {
    if ((await lockHolder(root)) === null) return copyOfStopped(root, say)
    const isCurrent = await exists(currentMark(root))
    const { newest } = await findCopies(root)
    if (newest !== null && (isCurrent || newest.copy.savedOn > sinceMs)) {
      return join(copiesFolder(root), newest.name)
    }
    await sleep(LOOK_EVERY_MS)
  }
  const limit = `for ${WAIT_MS / 1000} s`
  const reason = `the node has not copied its state ${limit}; its log and its health say why`
  throw new AppError('ERR_STORE_FAILED', `${root}: ${reason}`)
}

async function copyOfStopped(root: string, say: (line: string) => void): Promise<string> {
  const home = await Home.open(root)
  try {
    const [verdict, { newest }] = await Promise.all([look(home), findCopies(root)])
    const folder = copiesFolder(root)
    if (verdict.kind === 'ok' && verdict.writes > (newest?.copy.writes ?? -1)) {
      return await copyOfStore(home)
    }
    if (newest === null) {
      const reason = verdict.kind === 'damaged' ? verdict.reason : 'it is missing'
      const path = join(home.state, 'data.mdb')
      throw new AppError('ERR_STORE_DAMAGED', `${path}: ${reason}; there is no good copy of it`)
    }
    const { name, copy } = newest
    if (verdict.kind !== 'ok' || verdict.writes < copy.writes) {
      const time = new Date(copy.savedOn).toISOString()
      say(`the state is damaged; this is a back-up of its copy ${name} of ${time}`)
    }
    return join(folder, name)
  } finally {
    await home.close()
  }
}

async function copyOfStore(home: Home): Promise<string> {
  const store = await LmdbStore.open(home.state)
  try {
    const folder = copiesFolder(home.root)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    return await writeCopy(folder, store.snapshot(), wallMs())
  } finally {
    await store.close()
  }
}
