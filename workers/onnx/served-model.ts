/**
 * The model that a thread loads: its compiled form where there is a good one, else as it is in the
 * bundle. ONNX Runtime checks nothing of a form, and a flipped bit in it gives wrong answers and no
 * error. So the first thread of a process that opens one reads all of it; the others wait.
 *
 * A form that is not as it was made is put out of the way, so that nobody opens it again and a new
 * one is made.
 */

import { randomBytes } from 'node:crypto'
import { lstat, readdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../../core/base/errors.ts'
import {
  COMPILED_MODEL,
  COMPILED_MODES,
  COMPILED_RECORD,
  type CompiledRecord,
  compiledKey,
  parseCompiledRecord,
} from '../../core/bundle/compiled.ts'
import type { PredictionPlan } from '../../core/bundle/plan.ts'
import type { CompiledSettings } from '../../core/config/runtimes.ts'
import { contentOf } from '../compile/form.ts'
import { isOutOfMemory } from '../forge/reasons.ts'
import type { RuntimeLog } from '../runtime.ts'
import { CheckedForm } from './checked-form.ts'
import { type Model, openCompiled, openModel, RUNTIME } from './session.ts'

export interface FormsContext {
  /** Null: there are none. */
  readonly compiled: CompiledSettings | null
  /** By key, shared by the threads of a process. */
  readonly checked: Readonly<Record<string, SharedArrayBuffer>>
  readonly log: RuntimeLog
}

type Opened =
  | { readonly kind: 'opened'; readonly model: Model }
  /** There is none, or the original is to serve. */
  | { readonly kind: 'none' }
  | { readonly kind: 'damaged'; readonly reason: string }

/** `directory` is that of the generation. */
export async function openServed(
  directory: string,
  { model, weights }: PredictionPlan,
  { compiled, checked, log }: FormsContext,
): Promise<Model> {
  const original = join(directory, model)
  if (weights === undefined || compiled === null) return openModel(original)
  const key = compiledKey(compiled.machine, weights.sha256)
  const folder = join(compiled.folder, key)
  const opened = await openForm(folder, new CheckedForm(checked[key]))
  if (opened.kind === 'opened') return opened.model
  if (opened.kind === 'damaged') {
    log('warn', { key, reason: opened.reason }, 'a compiled form is damaged: the original serves')
    await rename(folder, `${folder}.${randomBytes(6).toString('hex')}`).catch(() => {
      // Another process has done it, or it was removed.
    })
  }
  return openModel(original)
}

async function openForm(folder: string, checked: CheckedForm): Promise<Opened> {
  const release = checked.lock()
  try {
    const path = join(folder, COMPILED_RECORD)
    const text = await readFile(path, 'utf8').catch(() => null)
    if (text === null) return (await isThere(folder)) ? damaged('it has no record') : NONE
    const record = parseCompiledRecord(text)
    if (record === null) return damaged('its record cannot be read')
    if (record.form === 'original' || record.runtime !== RUNTIME) return NONE
    const { mtimeNs } = await lstat(path, { bigint: true })
    if (!checked.isGood(mtimeNs)) {
      const fault = await formFault(folder, record)
      if (fault !== null) return damaged(fault)
      checked.setGood(mtimeNs)
    }
  } catch (error) {
    return damaged(messageOf(error))
  } finally {
    release()
  }
  try {
    return { kind: 'opened', model: await openCompiled(join(folder, COMPILED_MODEL)) }
  } catch (error) {
    // It was loaded when it was made: something has changed since, if not the memory that is left.
    const isGone = isOutOfMemory(error) || !(await isThere(folder))
    return isGone ? NONE : damaged(messageOf(error))
  }
}

const NONE = { kind: 'none' } as const

function damaged(reason: string): Opened {
  return { kind: 'damaged', reason }
}

async function isThere(folder: string): Promise<boolean> {
  return lstat(folder).then(
    () => true,
    () => false,
  )
}

/** What is not as it was made, or null. */
async function formFault(
  folder: string,
  { files }: Extract<CompiledRecord, { form: 'compiled' }>,
): Promise<string | null> {
  const whole = await lstat(folder)
  if (!whole.isDirectory() || mode(whole) !== COMPILED_MODES.folder) return 'its folder is open'
  const expected = [COMPILED_RECORD, ...files.map(({ path }) => path)].sort()
  const found = (await readdir(folder)).sort()
  if (found.join() !== expected.join()) return `it has the files ${found.join(', ')}`
  for (const name of expected) {
    const file = await lstat(join(folder, name))
    if (!file.isFile() || mode(file) !== COMPILED_MODES.file) return `${name} is open for writing`
  }
  for (const { path, size, sha256 } of files) {
    if ((await lstat(join(folder, path))).size !== size) return `${path} has another size`
    if ((await contentOf(folder, path)).sha256 !== sha256) return `${path} has other content`
  }
  return null
}

function mode(stats: { readonly mode: number }): number {
  return stats.mode & 0o777
}
