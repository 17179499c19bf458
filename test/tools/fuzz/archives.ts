/** Bundles by chance: good archives with changed bytes, numbers, ends, and entries that lie. */

import { type ZipEntry, type ZipOptions, zip } from '../../../bench/workloads/zip-writer.ts'
import type { Random } from '../random.ts'
import { changed, misnumbered } from './bytes.ts'

const NAMES = [
  '../x',
  'a\\b',
  '/etc/x',
  'c:x',
  'a\0b',
  'x'.repeat(300),
  'MODEL.onnx',
  'd/',
  '',
  '.',
]
const EXTREMES = [0, 1, 5, 0xffff, 0x7fffffff, 0xfffffffe, 0xffffffff]

type Lie = (random: Random, entry: ZipEntry) => ZipEntry

const LIES: readonly Lie[] = [
  (random, entry) => ({ ...entry, bytes: random.pick(EXTREMES) }),
  (random, entry) => ({ ...entry, packedBytes: random.pick(EXTREMES) }),
  (random, entry) => ({ ...entry, crc32: random.below(2 ** 32) }),
  (random, entry) => ({ ...entry, offset: random.pick(EXTREMES) }),
  (random, entry) => ({ ...entry, method: random.pick([0, 1, 8, 9, 12, 14, 93, 99]) }),
  (random, entry) => ({ ...entry, flags: random.below(0x10000) }),
  (random, entry) => ({ ...entry, mode: random.below(0x10000) }),
  (random, entry) => ({ ...entry, name: random.pick(NAMES) }),
  (random, entry) => ({ ...entry, zip64: random.pick(['both', 'local', 'missing'] as const) }),
  (random, entry) => ({ ...entry, local: { name: random.pick(NAMES) } }),
  (random, entry) => ({ ...entry, local: { bytes: random.pick(EXTREMES) } }),
  (random, entry) => ({ ...entry, local: { extra: Buffer.alloc(random.below(70), 1) } }),
  (_, entry) => ({ ...entry, descriptor: true }),
  (_, entry) => ({ ...entry, directoryOnly: true }),
]

const ENDS: readonly ((random: Random) => ZipOptions)[] = [
  (random) => ({ comment: Buffer.alloc(random.below(65_536), 'c') }),
  (random) => ({
    prefix: Buffer.alloc(random.below(500), 'P'),
    prefixCounted: random.next() < 0.5,
  }),
  (random) => ({ suffix: Buffer.alloc(random.below(500), 'S') }),
  (random) => ({ gap: Buffer.alloc(random.below(100)) }),
  (random) => ({ count: random.pick(EXTREMES) & 0xffff }),
  (random) => ({ directoryOffset: random.pick(EXTREMES) }),
  (random) => ({ directoryBytes: random.pick(EXTREMES) }),
  (random) => ({ zip64: { count: random.pick(EXTREMES) } }),
  (random) => ({ zip64: { directoryOffset: random.pick(EXTREMES) } }),
  (random) => ({ zip64: { locatorOffset: random.pick(EXTREMES) } }),
  () => ({ zip64: {} }),
]

export function archiveNear(random: Random, goods: readonly (readonly ZipEntry[])[]): Buffer {
  const entries = random.pick(goods)
  const chance = random.next()
  if (chance < 0.3) return liar(random, entries)
  const good = zip([...entries], random.next() < 0.3 ? random.pick(ENDS)(random) : {})
  if (chance < 0.6) return changed(random, good)
  if (chance < 0.8) return misnumbered(random, good)
  if (chance < 0.9) return good.subarray(0, random.below(good.length))
  const another = zip([...random.pick(goods)])
  return Buffer.concat([good.subarray(0, random.below(good.length)), another])
}

function liar(random: Random, entries: readonly ZipEntry[]): Buffer {
  const at = random.below(entries.length)
  const told = entries.map((entry, i) => (i === at ? random.pick(LIES)(random, entry) : entry))
  if (random.next() < 0.2) told.push(random.pick(entries))
  return zip(told, random.next() < 0.3 ? random.pick(ENDS)(random) : {})
}
