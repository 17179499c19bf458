/**
 * Goal: files are turned by size, the oldest go, no process touches what another one writes, and
 * what a killed process has left half-written is cut to its whole lines and no further.
 * Method: the files of real folders; other processes are this one's parent and ids that are free.
 */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { DirectAppender } from '../../../core/query-log/direct.ts'
import { fileName, logFileOf } from '../../../core/query-log/file-names.ts'
import { repairAll } from '../../../core/query-log/repair.ts'
import { ServiceFiles } from '../../../core/query-log/service-files.ts'

/** Above every id that Linux gives to a process. */
const NOBODY_PID = 2 ** 22 + 1
const KIB = 1024

function folderOf(t: Test) {
  const directory = mkdtempSync(join(tmpdir(), 'switchyard-query-log-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const folder = join(directory, 'svc')
  const names = () => readdirSync(folder).sort()
  const text = (name: string) => readFileSync(join(folder, name), 'latin1')
  const put = (name: string, content: string | Buffer) => {
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, name), content)
    return name
  }
  return { directory, folder, names, text, put, all: () => names().map(text).join('') }
}

const lineOf = (n: number, bytes = 100) => `${String(n).padEnd(bytes - 1, '.')}\n`

t.test('names', async (t) => {
  const name = fileName(Date.UTC(2026, 0, 2, 3, 4, 5, 67), 123, 4)
  t.equal(name, '2026-01-02T03-04-05.067Z-123-4.jsonl')
  t.same(logFileOf(name), { name, pid: 123, begunMs: Date.UTC(2026, 0, 2, 3, 4, 5, 67) })
  for (const other of ['notes.txt', `${name}.gz`, 'x.jsonl']) t.equal(logFileOf(other), null)
})

t.test('files are turned by size, and the oldest go', async (t) => {
  const { directory, folder, names, text, put, all } = folderOf(t)
  const limits = { fileBytesMax: 1 * KIB, totalBytesMax: 4 * KIB }
  const files = new ServiceFiles('svc', { directory, ...limits }, new DirectAppender())
  put('notes.txt', 'of somebody')
  const lines = 200
  for (let n = 0; n < lines; n++) {
    const pieces = [lineOf(n).slice(0, 40), lineOf(n).slice(40)].map((part) => Buffer.from(part))
    files.append(pieces, 100)
    const total = names().reduce((sum, name) => sum + text(name).length, 0)
    if (total > limits.totalBytesMax) t.fail(`${total} bytes after line ${n}`)
  }
  files.close()
  t.equal(text('notes.txt'), 'of somebody', 'what is no log stays')
  rmSync(join(folder, 'notes.txt'))
  t.same(
    new Set(names().map((name) => text(name).length)),
    new Set([1_000]),
    'each to its size, in whole lines',
  )
  const kept = Array.from({ length: 40 }, (_, i) => lineOf(lines - 40 + i)).join('')
  t.equal(all(), kept, 'the newest, in order')
})

t.test('many pieces at once, and what somebody has removed', async (t) => {
  const { directory, folder, names, all } = folderOf(t)
  const files = new ServiceFiles(
    'svc',
    { directory, fileBytesMax: 1e9, totalBytesMax: 1e9 },
    new DirectAppender(),
  )
  const pieces = Array.from({ length: 3_000 }, (_, n) => Buffer.from(lineOf(n, 7)))
  files.append(pieces, 21_000)
  t.equal(all(), Buffer.concat(pieces).toString())
  for (const name of names()) rmSync(join(folder, name))
  files.append([Buffer.from(lineOf(1))], 100)
  t.equal(all(), lineOf(1), 'goes on in a new file')
  rmSync(folder, { recursive: true })
  files.append([Buffer.from(lineOf(2))], 100)
  t.equal(all(), lineOf(2))
  files.close()
})

t.test('what other processes write is left alone', async (t) => {
  const { directory, names, put, text } = folderOf(t)
  const content = lineOf(1, 2 * KIB)
  const old = Date.now() - 1_000
  const theirs = [1, 2].map((n) => put(fileName(old + n, process.ppid, n), `${content}{"torn`))
  const dead = [1, 2].map((n) => put(fileName(old - n, NOBODY_PID, n), `${content}{"torn`))
  // Its number is taken, but by a process that has started long after.
  const ancient = put(fileName(Date.UTC(2001), process.ppid, 1), `${content}{"torn`)
  repairAll(directory)
  t.same(theirs.map(text), [`${content}{"torn`, `${content}{"torn`])
  t.same([...dead, ancient].map(text), [content, content, content])
  const files = new ServiceFiles(
    'svc',
    { directory, fileBytesMax: KIB, totalBytesMax: KIB },
    new DirectAppender(),
  )
  files.append([Buffer.from(lineOf(1))], 100)
  t.same(names().slice(0, -1), theirs.slice(1), 'but for its newest, all are removed')
  files.close()
})

t.test('wherever a write was cut short, whole lines stay', async (t) => {
  const { directory, put, text } = folderOf(t)
  const whole = ['{"a":1}\n', '{"b":"žluť"}\n', '{"c":[1,2]}\n'].join('')
  const bytes = Buffer.from(whole)
  for (let length = 0; length <= bytes.byteLength; length++) {
    const torn = bytes.subarray(0, length)
    const expected = torn.subarray(0, torn.lastIndexOf(10) + 1).toString('latin1')
    const name = put(fileName(1, NOBODY_PID, 1), torn)
    repairAll(directory)
    if (text(name) !== expected) t.fail(`cut at ${length}: ${JSON.stringify(text(name))}`)
    const zeros = put(fileName(1, NOBODY_PID, 1), Buffer.concat([torn, Buffer.alloc(5_000)]))
    repairAll(directory)
    if (text(zeros) !== expected) t.fail(`zeros from ${length}: ${JSON.stringify(text(zeros))}`)
  }
  const long = put(fileName(2, NOBODY_PID, 2), `${lineOf(1, 5_000 * KIB)}${'x'.repeat(200 * KIB)}`)
  repairAll(directory)
  t.equal(text(long).length, 5_000 * KIB, 'far from the start of the file')
})

t.test('a file that cannot be mended is in nobody’s way', async (t) => {
  const { directory, folder, put, text } = folderOf(t)
  mkdirSync(join(folder, fileName(1, NOBODY_PID, 1)), { recursive: true })
  const name = put(fileName(2, NOBODY_PID, 2), 'x\ny')
  writeFileSync(join(directory, 'a file'), '')
  repairAll(directory)
  t.equal(text(name), 'x\n')
})
