/**
 * The folder of a compiled form: made under a name that nobody looks for, sealed, flushed and put
 * in its place in one step. It is whole or not there, whatever happens.
 */

import { createHash, randomBytes } from 'node:crypto'
import { access, chmod, mkdir, open, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  COMPILED_DATA,
  COMPILED_MODEL,
  COMPILED_MODES,
  COMPILED_RECORD,
  type CompiledRecord,
} from '../../core/bundle/compiled.ts'
import type { ContentFile } from '../../core/bundle/content.ts'

const READ_BYTES = 256 * 1024

export class UnfinishedForm {
  readonly #folder: string
  readonly #key: string
  /** Where its files are while it is made. */
  readonly path: string
  /** A place for what is on the way only. */
  readonly scrap: string

  constructor(folder: string, key: string) {
    this.#folder = folder
    this.#key = key
    this.path = join(folder, `${key}.${randomBytes(6).toString('hex')}`)
    this.scrap = join(this.path, 'scrap')
  }

  async make(): Promise<void> {
    await mkdir(this.scrap, { recursive: true, mode: 0o700 })
  }

  /** Closes it for writing, with a record of what is in it, and puts it in its place. */
  async finish(record: Omit<Extract<CompiledRecord, { form: 'compiled' }>, 'files'>) {
    await rm(this.scrap, { recursive: true, force: true })
    const files = [await contentOf(this.path, COMPILED_MODEL)]
    if (await exists(join(this.path, COMPILED_DATA))) {
      files.push(await contentOf(this.path, COMPILED_DATA))
    }
    const whole: CompiledRecord = { ...record, files }
    await writeFile(join(this.path, COMPILED_RECORD), `${JSON.stringify(whole)}\n`, { flag: 'wx' })
    for (const name of [...files.map(({ path }) => path), COMPILED_RECORD]) {
      await chmod(join(this.path, name), COMPILED_MODES.file)
      await sync(join(this.path, name))
    }
    await chmod(this.path, COMPILED_MODES.folder)
    await sync(this.path)
    await rename(this.path, join(this.#folder, this.#key))
    await sync(this.#folder)
    return whole
  }

  async discard(): Promise<void> {
    await chmod(this.path, 0o700).catch(() => {})
    await rm(this.path, { recursive: true, force: true })
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Size and hash of a file of a form, read to its end. */
export async function contentOf(folder: string, name: string): Promise<ContentFile> {
  const hash = createHash('sha256')
  // One for all of it: what a stream reads stays, piece by piece, with the thread that has read it.
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
  const handle = await open(join(folder, name), 'r')
  try {
    let size = 0
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, READ_BYTES, null)
      if (bytesRead === 0) return { path: name, size, sha256: hash.digest('hex') }
      hash.update(buffer.subarray(0, bytesRead))
      size += bytesRead
    }
  } finally {
    await handle.close()
  }
}
