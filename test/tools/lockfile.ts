/**
 * Keeps package-lock.json whole for every platform: `npm run lockfile` after each change of
 * dependencies.
 *
 * npm writes only those optional packages into the lock that its registry could serve on that day.
 * A registry that mirrors one platform leaves out the binaries of all others; npm 10 takes such a
 * lock, npm 11 refuses it, and on another platform it is wrong with both. The missing entries can
 * be written without a registry: optionalDependencies name the exact version, and the package's
 * name says which system it is for. They carry no checksum, because nobody here has seen the files.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../bench/paths.ts'

export interface LockedPackage {
  version?: string
  resolved?: string
  integrity?: string
  cpu?: string[]
  dev?: boolean
  libc?: string[]
  optional?: boolean
  os?: string[]
  dependencies?: Record<string, string>
  devDependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
}

export interface Lock {
  packages: Record<string, LockedPackage>
}

export interface Missing {
  readonly name: string
  readonly version: string
  /** Place of the package that wants it, as a key of `packages`. */
  readonly wantedBy: string
}

export function readLock(): Lock {
  return JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'))
}

/** Every name of every optionalDependencies that the lock has no entry for. */
export function missingOptionals(lock: Lock): Missing[] {
  return Object.entries(lock.packages).flatMap(([place, entry]) =>
    Object.entries(entry.optionalDependencies ?? {})
      .filter(([name]) => !resolves(lock, place, name))
      .map(([name, version]) => ({ name, version, wantedBy: place })),
  )
}

/** Node's own search: beside the package that asks, then beside each of its ancestors. */
function resolves(lock: Lock, place: string, name: string): boolean {
  for (let at = place; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    if (`${at}${at === '' ? '' : '/'}node_modules/${name}` in lock.packages) return true
    if (at === '') return false
  }
}

/** The lock with an entry for each missing package, in the order in which npm keeps them. */
export function completed(lock: Lock): Lock {
  const packages = { ...lock.packages }
  for (const missing of missingOptionals(lock)) {
    packages[`node_modules/${missing.name}`] = entryFor(missing, packages[missing.wantedBy])
  }
  const places = Object.keys(packages).sort((a, b) => a.localeCompare(b, 'en'))
  return { ...lock, packages: Object.fromEntries(places.map((at) => [at, packages[at] ?? {}])) }
}

const SYSTEMS = ['android', 'darwin', 'freebsd', 'linux', 'openharmony', 'win32', 'aix', 'sunos']
const CPUS = ['arm64', 'arm', 'x64', 'ia32', 'ppc64', 'riscv64', 's390x', 'loong64', 'wasm32']

/** Field order is npm's own, so that npm leaves the entry alone when it writes the lock again. */
function entryFor(missing: Missing, wantedBy: LockedPackage | undefined): LockedPackage {
  if (!/^\d+\.\d+\.\d+[\w.+-]*$/.test(missing.version)) {
    throw new Error(`${missing.name}@${missing.version}: not an exact version, add it by hand`)
  }
  const words = missing.name.split(/[/-]/)
  const os = SYSTEMS.filter((system) => words.includes(system))
  const cpu = CPUS.filter((name) => words.includes(name))
  if (os.length !== 1 || cpu.length !== 1) {
    throw new Error(`${missing.name}: its name does not say what it is for, add it by hand`)
  }
  const libc = libcOf(words)
  return {
    version: missing.version,
    cpu,
    ...(wantedBy?.dev === true ? { dev: true } : {}),
    ...(libc === null ? {} : { libc: [libc] }),
    optional: true,
    os,
  }
}

function libcOf(words: readonly string[]): string | null {
  if (words.some((word) => word.startsWith('musl'))) return 'musl'
  return words.some((word) => word.startsWith('gnu')) ? 'glibc' : null
}

function main(): void {
  const lock = readLock()
  const added = missingOptionals(lock)
  writeFileSync(join(ROOT, 'package-lock.json'), `${JSON.stringify(completed(lock), null, 2)}\n`)
  console.log(`package-lock.json: ${added.length} entries added for other platforms`)
}

if (process.argv[1]?.endsWith('lockfile.js')) main()
