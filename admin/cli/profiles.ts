/**
 * Nodes that a person works with, by name, in a file that only that person can read: where each
 * is, and the keys that open it.
 */

import { chmod, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { messageOf } from '../../core/base/errors.ts'
import type { Shell } from './command.ts'
import { failed } from './failures.ts'

/** Fields of a profile, all texts. */
export const PROFILE_FIELDS = [
  'url',
  'key',
  'queryUrl',
  'queryKey',
  'ca',
  'cert',
  'certKey',
] as const
export type ProfileField = (typeof PROFILE_FIELDS)[number]
export type Profile = Readonly<Partial<Record<ProfileField, string>>>
export type Profiles = Readonly<Record<string, Profile>>

export const DEFAULT_PROFILE = 'default'

type Place = Pick<Shell, 'env' | 'homeFolder'>

export function profilePath({ env, homeFolder }: Place): string {
  const given = env['XDG_CONFIG_HOME']
  const folder = given === undefined || given === '' ? join(homeFolder, '.config') : given
  return join(folder, 'switchyard', 'profiles.json')
}

export async function readProfiles(place: Place): Promise<Profiles> {
  const path = profilePath(place)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {}
    throw failed(`${path} cannot be read: ${messageOf(error)}`)
  }
  const others = (await stat(path)).mode & 0o077
  if (others !== 0) throw failed(`${path} holds keys and others can read it: run chmod 600 on it`)
  return parsed(text, path)
}

/** Whole or not at all, and never readable by others in between. */
export async function writeProfiles(place: Place, profiles: Profiles): Promise<void> {
  const path = profilePath(place)
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const fresh = `${path}.${process.pid}`
  await writeFile(fresh, `${JSON.stringify(profiles, null, 2)}\n`, { mode: 0o600 })
  await chmod(fresh, 0o600)
  await rename(fresh, path)
}

function parsed(text: string, path: string): Profiles {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw failed(`${path} is not JSON: ${messageOf(error)}`)
  }
  if (!isRecord(value)) throw failed(`${path} must hold one JSON object, a profile for each name`)
  const profiles: Record<string, Profile> = {}
  for (const [name, fields] of Object.entries(value)) {
    if (!isRecord(fields)) throw failed(`${path}: profile "${name}" is no object`)
    profiles[name] = profileOf(name, fields, path)
  }
  return profiles
}

function profileOf(name: string, fields: Record<string, unknown>, path: string): Profile {
  const known = new Set<string>(PROFILE_FIELDS)
  for (const [field, value] of Object.entries(fields)) {
    if (known.has(field) && typeof value === 'string') continue
    const allowed = PROFILE_FIELDS.join(', ')
    throw failed(`${path}: "${field}" of profile "${name}": allowed are the texts ${allowed}`)
  }
  return fields
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
