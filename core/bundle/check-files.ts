/** Whether what a manifest names is in the bundle. */

import type { Fault } from '../base/errors.ts'
import { nearest, shown } from './sentences.ts'

export type Files = ReadonlySet<string>

/** More names than these are not compared: a hint is not worth seconds. */
const COMPARED_MAX = 1_000

export function fileFaults(name: string, path: string, files: Files): Fault[] {
  if (files.has(name)) return []
  return [{ path, reason: `${shown(name)} is not a file of the bundle${hint(name, [...files])}` }]
}

/** '' is the bundle itself. */
export function folderFaults(name: string, path: string, files: Files): Fault[] {
  const folder = folderName(name)
  if (folder === '') return []
  const all = [...files]
  if (all.some((file) => file.startsWith(`${folder}/`))) return []
  const folders = [...new Set(all.flatMap(foldersOf))]
  return [{ path, reason: `${shown(name)} is not a folder of the bundle${hint(name, folders)}` }]
}

/** Without the slash that some write at the end. */
export function folderName(name: string): string {
  return name === '.' || name === './' ? '' : name.replace(/\/+$/, '')
}

function foldersOf(file: string): string[] {
  const parts = file.split('/').slice(0, -1)
  return parts.map((_, i) => parts.slice(0, i + 1).join('/'))
}

function hint(name: string, known: readonly string[]): string {
  const near = nearest(name, known.slice(0, COMPARED_MAX))
  return near === null ? '' : `; did you mean "${near}"?`
}
