/**
 * Ways in which a store and its copies may be damaged: by a disk, by a crash, by a person. Each is
 * a step that changes the files of a data directory and nothing else.
 */

import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Random } from './random.ts'

const PAGE = 4_096
const META_PAGES = 2

interface Target {
  readonly home: string
  /** The file as it was some changes ago. */
  readonly older: string
  readonly random: Random
}

type Damage = (target: Target) => void

const data = ({ home }: Target): string => join(home, 'state', 'data.mdb')
const sizeOf = (path: string): number => statSync(path).size

function noise(random: Random, bytes: number): Buffer {
  return Buffer.from(Array.from({ length: bytes }, () => random.below(256)))
}

function write(path: string, bytes: Buffer, at: number): void {
  const file = openSync(path, 'r+')
  writeSync(file, bytes, 0, bytes.length, at)
  closeSync(file)
}

function read(path: string, bytes: number, at: number): Buffer {
  const file = openSync(path, 'r')
  const buffer = Buffer.alloc(bytes)
  readSync(file, buffer, 0, bytes, at)
  closeSync(file)
  return buffer
}

/** Not one of the first two, which lead to all others. */
function page({ random }: Target, path: string): number {
  return META_PAGES + random.below(Math.floor(sizeOf(path) / PAGE) - META_PAGES)
}

function flip(random: Random, path: string, from: number, bytes: number): void {
  const at = from + random.below(bytes)
  const [old = 0] = read(path, 1, at)
  write(path, Buffer.from([old ^ (1 << random.below(8))]), at)
}

function onPages(change: (target: Target, path: string, at: number) => void, pagesMax = 4): Damage {
  return (target) => {
    const path = data(target)
    const count = 1 + target.random.below(pagesMax)
    for (let i = 0; i < count; i += 1) change(target, path, page(target, path) * PAGE)
  }
}

/** LMDB keeps one of its two meta pages twice in one page, so both are looked for. */
function onMeta(change: (random: Random, path: string, at: number) => void): Damage {
  return (target) => {
    const first = target.random.below(META_PAGES)
    change(target.random, data(target), first * PAGE)
    if (target.random.below(2) === 0) change(target.random, data(target), (1 - first) * PAGE)
  }
}

const STORE: Readonly<Record<string, Damage>> = {
  zeroed: (target) => writeFileSync(data(target), Buffer.alloc(sizeOf(data(target)))),
  noise: (target) => {
    writeFileSync(data(target), noise(target.random, sizeOf(data(target))))
  },
  text: (target) => writeFileSync(data(target), 'this is no store\n'.repeat(2_000)),
  empty: (target) => truncateSync(data(target), 0),
  truncated: (target) => truncateSync(data(target), target.random.below(sizeOf(data(target)))),
  truncatedAtPage: (target) => {
    truncateSync(data(target), target.random.below(sizeOf(data(target)) / PAGE) * PAGE)
  },
  truncatedShort: (target) => truncateSync(data(target), target.random.below(3 * PAGE)),
  longer: (target) => {
    write(data(target), noise(target.random, 3 * PAGE), sizeOf(data(target)))
  },
  missing: (target) => rmSync(data(target)),
  directory: (target) => {
    rmSync(data(target))
    mkdirSync(data(target))
  },
  noState: ({ home }) => rmSync(join(home, 'state'), { recursive: true }),
  rolledBack: (target) => copyFileSync(target.older, data(target)),
  metaZeroed: onMeta((_random, path, at) => write(path, Buffer.alloc(PAGE), at)),
  metaNoise: onMeta((random, path, at) => write(path, noise(random, PAGE), at)),
  metaFlipped: onMeta((random, path, at) => flip(random, path, at, 192)),
  pageZeroed: onPages((_target, path, at) => write(path, Buffer.alloc(PAGE), at)),
  pageNoise: onPages(({ random }, path, at) => write(path, noise(random, PAGE), at)),
  pageFlipped: onPages(({ random }, path, at) => flip(random, path, at, PAGE), 12),
  headerFlipped: onPages(({ random }, path, at) => flip(random, path, at, 24), 12),
  pagesSwapped: onPages((target, path, at) => {
    const other = page(target, path) * PAGE
    const [here, there] = [read(path, PAGE, at), read(path, PAGE, other)]
    write(path, there, at)
    write(path, here, other)
  }),
  pageRepeated: onPages((target, path, at) => {
    write(path, read(path, PAGE, page(target, path) * PAGE), at)
  }),
  pagesOlder: onPages(({ older }, path, at) => {
    if (at < sizeOf(older)) write(path, read(older, PAGE, at), at)
  }, 12),
  tailZeroed: (target) => {
    const path = data(target)
    const at = page(target, path) * PAGE
    write(path, Buffer.alloc(sizeOf(path) - at), at)
  },
  lockNoise: ({ home, random }) => {
    writeFileSync(join(home, 'state', 'lock.mdb'), noise(random, 8_272))
  },
  lockShort: ({ home }) => writeFileSync(join(home, 'state', 'lock.mdb'), 'x'),
  lockMissing: ({ home }) => rmSync(join(home, 'state', 'lock.mdb'), { force: true }),
  lockDirectory: ({ home }) => {
    rmSync(join(home, 'state', 'lock.mdb'), { force: true })
    mkdirSync(join(home, 'state', 'lock.mdb', 'inner'), { recursive: true })
  },
  lockLink: ({ home }) => {
    rmSync(join(home, 'state', 'lock.mdb'), { force: true })
    symlinkSync('/nowhere/at/all', join(home, 'state', 'lock.mdb'))
  },
  openForAll: (target) => {
    chmodSync(data(target), 0o666)
    chmodSync(join(target.home, 'state'), 0o777)
  },
  noRights: ({ home }) => chmodSync(join(home, 'state'), 0),
}

const COPY: Readonly<Record<string, (path: string, random: Random) => void>> = {
  flipped: (path, random) => flip(random, path, 0, sizeOf(path)),
  truncated: (path, random) => truncateSync(path, random.below(sizeOf(path))),
  empty: (path) => truncateSync(path, 0),
  directory: (path) => {
    rmSync(path)
    mkdirSync(path)
  },
  /** Whole, with a checksum of its own, and of another shape. */
  foreign: (path) => writeFileSync(path, '{"body":{},"checksum":"00"}\n'),
  cutValue: (path) => {
    writeFileSync(path, readFileSync(path, 'utf8').replace('"enabled":true', '"enabled":null'))
  },
}

export const STORE_DAMAGES: readonly string[] = Object.keys(STORE)

export function damageStore(how: string, target: Target): void {
  STORE[how]?.(target)
}

/** Says how. */
export function damageCopy(path: string, random: Random): string {
  const how = random.pick(Object.keys(COPY))
  if (existsSync(path)) COPY[how]?.(path, random)
  return how
}
