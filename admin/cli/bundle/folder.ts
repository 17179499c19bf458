/**
 * Puts a part into the folder of a bundle. All is checked before the first file is written, and
 * what is there already is only overwritten by --force.
 */

import { constants } from 'node:fs'
import { copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { messageOf } from '../../../core/base/errors.ts'
import { isObject } from '../../../core/base/json.ts'
import { listFolder } from '../../bundle/archive.ts'
import type { Call } from '../command.ts'
import { failed, wrongUsage } from '../failures.ts'
import type { Flags } from '../flags.ts'
import { manifestText } from './manifest-text.ts'
import type { Part, PartFile } from './part.ts'
import { isSameFile } from './same-file.ts'
import { MANIFEST, parsedManifest } from './source.ts'

interface Adding {
  /** As given. */
  readonly directory: string
  readonly part: Part
}

export interface Added {
  /** As given, with its name. */
  readonly manifest: string
  readonly created: boolean
  readonly files: readonly { readonly path: string; readonly copied: boolean }[]
}

export async function addPart({ flags }: Call, { directory, part }: Adding): Promise<Added> {
  const folder = resolve(directory)
  const path = join(folder, MANIFEST)
  const text = await readOrNull(path)
  const before = text === null ? null : parsedManifest(text)
  const shownPath = join(directory, MANIFEST)
  if (text !== null && before === null && !flags.isSet('force')) {
    throw failed(`${shownPath} is there and is no JSON object: --force overwrites it`)
  }
  const manifest = merged(before ?? {}, part, flags, shownPath)
  const files = await Promise.all(part.files.map((file) => placed(folder, file, flags)))
  await judge(folder, manifest, files)
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw wrongUsage(`${directory} cannot be made: ${messageOf(error)}`)
  })
  for (const { source, path: at, copied } of files) {
    if (!copied) continue
    await mkdir(dirname(join(folder, at)), { recursive: true })
    await copyFile(source, join(folder, at), constants.COPYFILE_FICLONE)
  }
  const fresh = `${path}.${process.pid}`
  await writeFile(fresh, manifestText(manifest))
  await rename(fresh, path)
  const listed = files.map(({ path: at, copied }) => ({ path: at, copied }))
  return { manifest: shownPath, created: before === null, files: listed }
}

async function readOrNull(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw wrongUsage(`${path} cannot be read: ${messageOf(error)}`)
  }
}

type Manifest = Readonly<Record<string, unknown>>

/** Keys in the order in which people read them. */
function merged(before: Manifest, part: Part, flags: Flags, path: string): Manifest {
  const service = flags.text('service')
  const wanted = {
    ...(service === null ? {} : { serviceId: service }),
    ...(flags.isSet('public') ? { authorization: 'PUBLIC' } : {}),
  }
  for (const [key, value] of Object.entries(wanted)) {
    const old = before[key]
    if (old === undefined || old === value || flags.isSet('force')) continue
    const reason = `${key} is ${JSON.stringify(old)} there and would be ${JSON.stringify(value)}`
    throw failed(`${path}: ${reason}: --force overwrites it`)
  }
  const { endpoints, tables, formatVersion = 1, ...rest } = before
  const allTables = withEntries(recordsOf(tables), part.tables ?? [], { key: 'name', flags, path })
  const adding = { key: 'id', flags, path } as const
  const allEndpoints = withEntries(recordsOf(endpoints), [part.endpoint], adding)
  return {
    formatVersion,
    ...rest,
    ...wanted,
    ...(allTables.length === 0 ? {} : { tables: allTables }),
    endpoints: allEndpoints,
  }
}

function recordsOf(value: unknown): readonly Manifest[] {
  return Array.isArray(value) ? value.filter(isObject) : []
}

interface Merging {
  readonly key: 'id' | 'name'
  readonly flags: Flags
  readonly path: string
}

function withEntries(
  old: readonly Manifest[],
  added: readonly Manifest[],
  { key, flags, path }: Merging,
): readonly Manifest[] {
  const all = [...old]
  for (const entry of added) {
    const at = all.findIndex((one) => one[key] === entry[key])
    const isSame = at >= 0 && JSON.stringify(all[at]) === JSON.stringify(entry)
    if (at < 0) all.push(entry)
    else if (isSame || flags.isSet('force')) all[at] = entry
    else {
      const what = key === 'id' ? 'endpoint' : 'table'
      const other = key === 'id' ? '; --endpoint gives another id' : ''
      const reason = `${path} has the ${what} ${JSON.stringify(entry[key])} already`
      throw failed(`${reason}: --force overwrites it${other}`)
    }
  }
  return all
}

interface Placed extends PartFile {
  readonly copied: boolean
}

/** A file that is in the folder already stays where it is. */
async function placed(folder: string, file: PartFile, flags: Flags): Promise<Placed> {
  const target = join(folder, file.path)
  const same = await isSameFile(file.source, target)
  if (same === null || (same === false && flags.isSet('force'))) return { ...file, copied: true }
  if (same) return { ...file, copied: false }
  throw failed(`${target} is there and is another file: --force overwrites it`)
}

/** By the node's own rules, with the files as they will be. */
async function judge(folder: string, manifest: Manifest, added: readonly Placed[]): Promise<void> {
  const there = await listFolder(folder).catch(() => ({ files: [], archives: [] }))
  const paths = [...there.files, ...added].map(({ path }) => path)
  const files = new Set([...paths, ...there.archives, MANIFEST])
  const context = { serviceId: null, generationId: null, fileName: 'v1.zip', files }
  // Brings the schemas of all endpoints with it: only what gets this far waits for them.
  const { checkManifest } = await import('../../../core/bundle/check.ts')
  const checked = checkManifest(manifest, context)
  if (checked.kind === 'valid') return
  const [first] = checked.faults
  const line = `${first?.path}: ${first?.reason}`
  const many = `service.json would have ${checked.faults.length} faults, nothing was written:`
  throw failed(checked.faults.length === 1 ? line : many, checked.faults)
}
