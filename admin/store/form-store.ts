/**
 * The folder of compiled forms as control sees it: which there are, and how one is removed. Forms
 * are made by a child process and read by serving processes; here only a note is written that a
 * model has none and why.
 */

import { randomBytes } from 'node:crypto'
import { chmod, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { failpoint } from '../../core/base/failpoints.ts'
import {
  COMPILED_MODES,
  COMPILED_NAME,
  COMPILED_RECORD,
  type CompiledRecord,
  parseCompiledRecord,
} from '../../core/bundle/compiled.ts'
import { syncPath } from './files.ts'

export interface FormFolder {
  readonly name: string
  /** Null: it is being made, was found damaged, or has no record. */
  readonly key: string | null
  readonly record: CompiledRecord | null
}

export class FormStore {
  readonly folder: string

  constructor(folder: string) {
    this.folder = folder
  }

  async make(): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 })
  }

  /** Only what is ours; a folder that is not there holds nothing. */
  async list(): Promise<FormFolder[]> {
    const forms: FormFolder[] = []
    for (const name of await readdir(this.folder).catch(() => [])) {
      const [, key = null, suffix] = COMPILED_NAME.exec(name) ?? []
      if (key === null) continue
      const record = suffix === undefined ? await this.read(key) : null
      forms.push({ name, key: record === null ? null : key, record })
    }
    return forms
  }

  /** Null: there is none, or it cannot be read. */
  async read(key: string): Promise<CompiledRecord | null> {
    const text = await readFile(join(this.folder, key, COMPILED_RECORD), 'utf8').catch(() => null)
    return text === null ? null : parseCompiledRecord(text)
  }

  /**
   * Who has it mapped goes on with it. It is first put where nobody looks, and only then opened for
   * writing, since a form that is open counts as damaged.
   */
  async drop(name: string): Promise<void> {
    const path = join(this.folder, name)
    const aside = COMPILED_NAME.exec(name)?.[2] === undefined ? this.#aside(name) : path
    if (aside !== path) await rename(path, aside)
    await failpoint('form.aside')
    await chmod(aside, 0o700)
    await rm(aside, { recursive: true, force: true })
  }

  /** In place of a form. */
  async note(key: string, record: Extract<CompiledRecord, { form: 'original' }>): Promise<void> {
    const path = this.#aside(key)
    await mkdir(path, { mode: 0o700 })
    await writeFile(join(path, COMPILED_RECORD), `${JSON.stringify(record)}\n`, {
      mode: COMPILED_MODES.file,
      flush: true,
    })
    await chmod(path, COMPILED_MODES.folder)
    await syncPath(path)
    await failpoint('form.noted')
    await rename(path, join(this.folder, key))
    await syncPath(this.folder)
  }

  #aside(key: string): string {
    return join(this.folder, `${key}.${randomBytes(6).toString('hex')}`)
  }
}
