/**
 * Goal: what is appended past the page cache is the same lines in the same order as what goes
 * through it, in whole blocks, however the two alternate; memory that the kernel would not take is
 * moved until it does; where there is no such way, or the disk is slow, the cache takes it all.
 * Method: real files on the project's disk; when one is removed, the system tells how much of it
 * was in the cache only. /dev/full and a file of /proc stand for disks that refuse.
 *
 * SEED=… repeats the choices of a run.
 */

import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { compiled } from '../../../bench/paths.ts'
import { DirectAppender } from '../../../core/query-log/direct.ts'
import { ServiceFiles } from '../../../core/query-log/service-files.ts'
import { effort, sayEffort } from '../../tools/effort.ts'
import { randomOf } from '../../tools/random.ts'

const KIB = 1024
const BLOCK_BYTES = 4 * KIB
const APPENDS = effort(200, 1_000)
const NO_LIMIT = { fileBytesMax: 1e12, totalBytesMax: 1e15 }

t.setTimeout(120_000)

function folderOf(t: Test): string {
  // Not the folder for temporary files, which may be memory.
  const directory = mkdtempSync(join(compiled('.'), 'query-log-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

const pathsIn = (directory: string) =>
  readdirSync(join(directory, 'svc'))
    .sort()
    .map((name) => join(directory, 'svc', name))

function linesIn(directory: string): string[] {
  const texts = pathsIn(directory).map((path) => readFileSync(path, 'latin1'))
  for (const text of texts) if (!text.endsWith('\n')) throw new Error('a torn line')
  return texts.flatMap((text) => text.slice(0, -1).split('\n'))
}

/** Of numbered lines that together have about so many bytes. */
class Lines {
  readonly all: string[] = []

  next(bytes: number, lineBytes: number): Buffer {
    const first = this.all.length
    for (let size = 0; size < bytes; size += lineBytes) {
      const n = this.all.length
      this.all.push(JSON.stringify({ n, text: 'x'.repeat(Math.max(0, lineBytes - 24)) }))
    }
    return Buffer.from(`${this.all.slice(first).join('\n')}\n`)
  }
}

/** Removes a file. Bytes of it that were in the page cache and not on the disk yet. */
function removedUnwritten(path: string): number {
  const before = cancelledBytes()
  rmSync(path)
  return cancelledBytes() - before
}

/** What this process had written and then removed before it was written back. */
function cancelledBytes(): number {
  const io = readFileSync('/proc/self/io', 'latin1')
  return Number(/^cancelled_write_bytes: (\d+)$/m.exec(io)?.[1])
}

t.test('large appends are whole blocks that the page cache never sees', async (t) => {
  const directory = folderOf(t)
  const files = new ServiceFiles('svc', { directory, ...NO_LIMIT }, new DirectAppender())
  const lines = new Lines()
  for (let i = 0; i < 40; i++) {
    const bytes = lines.next(500 * KIB, 300)
    files.append([bytes], bytes.byteLength)
  }
  t.same(
    linesIn(directory).map((line) => line.trimEnd()),
    lines.all,
  )
  const [path = ''] = pathsIn(directory)
  t.equal(statSync(path).size % BLOCK_BYTES, 0)
  files.close()
  t.equal(removedUnwritten(path), 0)
  const small = lines.next(40 * KIB, 300)
  files.append([small], small.byteLength)
  files.close()
  t.ok(removedUnwritten(pathsIn(directory)[0] ?? '') >= 40 * KIB, 'it would be seen')
})

t.test('small and large ones in any order', async (t) => {
  sayEffort({ appends: APPENDS })
  const random = randomOf()
  const directory = folderOf(t)
  const limits = { fileBytesMax: 3_000 * KIB, totalBytesMax: 1e15 }
  const files = new ServiceFiles('svc', { directory, ...limits }, new DirectAppender())
  const lines = new Lines()
  for (let i = 0; i < APPENDS; i++) {
    const size = random.pick([1, 1, 500, 4_096, 65_000, 66_000, 262_000, 524_000, 600_000])
    const pieces = Array.from({ length: 1 + random.below(3) }, () =>
      lines.next(1 + random.below(size), 30 + random.below(random.pick([10, 500, 70_000]))),
    )
    files.append(
      pieces,
      pieces.reduce((sum, { byteLength }) => sum + byteLength, 0),
    )
  }
  files.close()
  const found = linesIn(directory)
  t.same(
    found.map((line) => line.trimEnd()),
    lines.all,
  )
  t.notOk(
    found.some((line) => line.trim() === ''),
    'no line is empty',
  )
  const sizes = pathsIn(directory).map((path) => readFileSync(path).byteLength)
  t.ok(sizes.length > 5, `${sizes.length} files`)
})

t.test('memory that does not begin at a block is moved', async (t) => {
  // Whatever malloc() gives: so many at once cannot all be aligned by chance.
  const kept = Array.from({ length: 20 }, (_, i) => {
    const directory = folderOf(t)
    const files = new ServiceFiles('svc', { directory, ...NO_LIMIT }, new DirectAppender())
    const bytes = new Lines().next(100 * KIB, 300)
    files.append([bytes], bytes.byteLength)
    files.close()
    const [path = ''] = pathsIn(directory)
    t.equal(removedUnwritten(path), 0)
    return Buffer.alloc(700 * KIB + 48 * i)
  })
  t.equal(kept.length, 20)
})

t.test('where it cannot be done, nothing is lost', async (t) => {
  const appender = new DirectAppender()
  const bytes = 100 * KIB
  t.equal(appender.suits(bytes), true)
  const full = openSync('/dev/full', 'r+')
  t.teardown(() => closeSync(full))
  t.throws(() => appender.append(full, [Buffer.alloc(bytes)]), { code: 'ENOSPC' })
  t.equal(appender.suits(bytes), true, 'a full disk is another matter')
  t.equal(appender.open('/proc/self/comm'), null)
  t.equal(appender.suits(bytes), false, 'asked once')
  const directory = folderOf(t)
  const files = new ServiceFiles('svc', { directory, ...NO_LIMIT }, appender)
  const lines = new Lines()
  for (let i = 0; i < 3; i++) {
    const piece = lines.next(bytes, 300)
    files.append([piece], piece.byteLength)
  }
  files.close()
  t.same(linesIn(directory), lines.all, 'through the cache, without blanks')
})
