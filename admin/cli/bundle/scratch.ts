/**
 * A folder for what a command needs meanwhile: archives, unpacked bundles, sockets. It goes with
 * the command, also when somebody ends that with Ctrl-C.
 */

import { rmSync } from 'node:fs'
import { mkdir, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export async function withScratch<T>(use: (folder: string) => Promise<T>): Promise<T> {
  // 0700, under a name that nobody can have guessed.
  const folder = await mkdtemp(join(tmpdir(), 'switchyard-'))
  const remove = (): void => rmSync(folder, { recursive: true, force: true })
  const end = (signal: NodeJS.Signals): void => {
    remove()
    process.kill(process.pid, signal)
  }
  // Its children end by themselves once their channel is cut.
  for (const signal of SIGNALS) process.once(signal, end)
  try {
    return await use(folder)
  } finally {
    for (const signal of SIGNALS) process.removeListener(signal, end)
    remove()
  }
}

/** A new, empty folder below. */
export async function folderIn(scratch: string, name: string): Promise<string> {
  const path = join(scratch, name)
  await mkdir(path, { mode: 0o700 })
  return path
}
