/**
 * The compiled form of a model: the graph as ONNX Runtime has optimized it, and its weights packed
 * for this processor in a file of their own, which all who load it map and so share. It is a cache:
 * whatever is wrong with it, the model of the bundle serves instead.
 *
 * Each form has a folder of its own, named by its key, below `compiled/` of the data directory.
 */

import { createHash } from 'node:crypto'
import { isObject } from '../base/json.ts'
import type { ContentFile } from './content.ts'

export const COMPILED_MODEL = 'm.onnx'
export const COMPILED_DATA = 'm.data'
export const COMPILED_RECORD = 'record.json'

/** Changes with what the repair does: forms of other versions are made anew. */
export const REPAIR_VERSION = 1

/** Models with less weights than this load in no time and have nothing worth sharing. */
export const COMPILED_WEIGHTS_MIN = 1024 * 1024

/** Files are written once and then only read, which their modes say. */
export const COMPILED_MODES = { file: 0o444, folder: 0o555 } as const

export type CompiledRecord =
  | {
      readonly form: 'compiled'
      readonly createdOn: number
      /** ONNX Runtime that wrote it. */
      readonly runtime: string
      /** The model and, where it has weights outside, its data. */
      readonly files: readonly ContentFile[]
      /** Runs whose answers were the same, bit by bit, as those of the original. */
      readonly runs: number
    }
  /** It was tried, and the model of the bundle is to serve. */
  | { readonly form: 'original'; readonly createdOn: number; readonly reason: string }

/** `machine` stands for all that a form depends on beside the model; `model` for its bytes. */
export function compiledKey(machine: string, model: string): string {
  return createHash('sha256').update(`${machine}\n${model}\n`).digest('hex')
}

/** The hash; behind a dot the name of one that is being made, or that was found damaged. */
export const COMPILED_NAME = /^([0-9a-f]{64})(\.[0-9a-f]{12})?$/

/** Null: the text is no record. */
export function parseCompiledRecord(text: string): CompiledRecord | null {
  const record = parsed(text)
  if (!isObject(record)) return null
  const { form, createdOn, reason, runtime, files, runs } = record
  if (typeof createdOn !== 'number') return null
  if (form === 'original' && typeof reason === 'string') return { form, createdOn, reason }
  if (form !== 'compiled' || typeof runtime !== 'string' || typeof runs !== 'number') return null
  if (!Array.isArray(files) || !files.every(isContentFile)) return null
  const names = files.map(({ path }) => path)
  const known = names.every((name) => name === COMPILED_MODEL || name === COMPILED_DATA)
  if (!known || !names.includes(COMPILED_MODEL)) return null
  return { form, createdOn, runtime, files, runs }
}

/** On the disk. */
export function compiledBytes(record: CompiledRecord): number {
  return record.form === 'original' ? 0 : record.files.reduce((sum, { size }) => sum + size, 0)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function isContentFile(value: unknown): value is ContentFile {
  if (!isObject(value)) return false
  const { path, size, sha256 } = value
  return typeof path === 'string' && typeof size === 'number' && typeof sha256 === 'string'
}
