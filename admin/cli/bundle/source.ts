/** A bundle as it is named on the command line: an archive, or the folder that it is made of. */

import { readFile, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { messageOf } from '../../../core/base/errors.ts'
import { isObject } from '../../../core/base/json.ts'
import {
  type BundleFile,
  type ListedFolder,
  listFolder,
  writeArchive,
} from '../../bundle/archive.ts'
import type { Shell } from '../command.ts'
import { failed, wrongUsage } from '../failures.ts'
import { Progress } from '../progress.ts'

export const MANIFEST = 'service.json'

export interface Folder extends ListedFolder {
  readonly path: string
  readonly manifestText: string
}

export type Source =
  | { readonly kind: 'archive'; readonly path: string; readonly bytes: number }
  | { readonly kind: 'folder'; readonly folder: Folder }

export async function sourceOf(given: string): Promise<Source> {
  const path = resolve(given)
  const facts = await stat(path).catch((error: unknown) => {
    throw wrongUsage(`${given} cannot be read: ${messageOf(error)}`)
  })
  if (facts.isFile()) return { kind: 'archive', path, bytes: facts.size }
  if (!facts.isDirectory()) throw wrongUsage(`${given} is neither an archive nor a folder`)
  return { kind: 'folder', folder: await folderOf(path) }
}

export async function folderOf(given: string): Promise<Folder> {
  const path = resolve(given)
  const manifestText = await readFile(join(path, MANIFEST), 'utf8').catch((error: unknown) => {
    const cure = '"switchyard bundle init --help" shows how to make one'
    if (codeOf(error) === 'ENOENT') throw wrongUsage(`${given} has no ${MANIFEST}; ${cure}`)
    throw wrongUsage(`${join(given, MANIFEST)} cannot be read: ${messageOf(error)}`)
  })
  const listed = await listFolder(path)
  // What the manifest names belongs to the bundle, whatever it looks like.
  const isNamed = (name: string): boolean => manifestText.includes(JSON.stringify(name))
  const archives = listed.archives.filter((name) => !isNamed(name))
  const named = listed.archives.filter(isNamed)
  return { path, manifestText, archives, files: [...listed.files, ...(await filesOf(path, named))] }
}

async function filesOf(folder: string, names: readonly string[]): Promise<BundleFile[]> {
  return Promise.all(
    names.map(async (name) => {
      const source = join(folder, name)
      return { path: name, source, bytes: (await stat(source)).size }
    }),
  )
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : null
}

/** Null: it is no JSON object; a check says what is wrong with it. */
export function parsedManifest(text: string): Record<string, unknown> | null {
  try {
    const parsed: unknown = JSON.parse(text.replace(/^\uFEFF/, ''))
    return isObject(parsed) ? parsed : null
  } catch {
    return null
  }
}

/** What the archive is called where nobody says: like the generation, or like the folder. */
export function archiveName({ path, manifestText }: Folder): string {
  const id = parsedManifest(manifestText)?.['generationId']
  return `${typeof id === 'string' && /^[\w.-]+$/.test(id) ? id : basename(path)}.zip`
}

export interface Packing {
  readonly target: string
  readonly compress: boolean
  readonly label: string
}

/** The size of the archive. */
export async function pack(
  shell: Shell,
  files: readonly BundleFile[],
  { target, compress, label }: Packing,
): Promise<number> {
  const progress = new Progress(shell)
  try {
    const onBytes = (done: number, total: number): void => progress.show(label, done, total)
    return await writeArchive(files, target, { compress, onBytes })
  } catch (error) {
    throw failed(`the archive cannot be written: ${messageOf(error)}`)
  } finally {
    progress.end()
  }
}
