/**
 * Goal: whoever zips a bundle honestly, with whatever tool, finds exactly its files unpacked.
 *
 * Method: archives by a writer of our own in every legal form, and by `zip` and Python where they
 * are installed; every file is compared to the byte.
 */

import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type ZipEntry, type ZipOptions, zip } from '../../../bench/workloads/zip-writer.ts'
import { contentSha256 } from '../../../core/bundle/content.ts'
import { manifestPath, unpack } from '../../../workers/forge/unpack.ts'
import { unpacking } from '../../tools/unpacking.ts'

const { folder, run } = unpacking(t)
const ok: ZipEntry = { name: 'service.json', data: '{}' }
const text = 'a model in words, words, words, words, words'

t.test('what an honest archive holds is written, to the byte', async (t) => {
  const noise = randomBytes(700_000)
  const entries: ZipEntry[] = [
    ok,
    { name: 'models/' },
    { name: 'models/über.onnx', data: noise, mode: 0o104755 },
    { name: 'models/stored.bin', data: noise, method: 0 },
    { name: 'a/b/c/streamed.txt', data: text, descriptor: true, mode: 0o644 },
    { name: 'wide.txt', data: text, zip64: 'both' },
    { name: 'wide-local.txt', data: text, zip64: 'local' },
    { name: 'empty.txt' },
    { name: 'nested.zip', data: zip([ok]) },
    { name: '__MACOSX/._service.json', data: 'clutter' },
    { name: 'models/.DS_Store', data: 'clutter' },
  ]
  const { result, directory, written } = await run(zip(entries))
  t.equal(result.kind, 'unpacked', JSON.stringify(result))
  if (result.kind !== 'unpacked') return
  const kept = entries.filter(({ data }) => data !== 'clutter')
  const files = kept.filter(({ name }) => !String(name).endsWith('/'))
  t.same(result.files.map(({ path }) => path).sort(), files.map(({ name }) => name).sort())
  for (const file of result.files) {
    const data = readFileSync(join(directory, file.path))
    const source = entries.find(({ name }) => name === file.path)
    t.ok(data.equals(Buffer.from(source?.data ?? '')), `${file.path} holds what was put in`)
    t.equal(file.sha256, createHash('sha256').update(data).digest('hex'))
    t.equal(file.size, data.length)
    t.equal(statSync(join(directory, file.path)).mode & 0o7777, 0o600, 'modes are forced')
  }
  t.equal(statSync(join(directory, 'models')).mode & 0o7777, 0o700)
  t.equal(statSync(join(directory, 'a/b')).mode & 0o7777, 0o700)
  t.equal(
    result.bytes,
    files.reduce((sum, { data }) => sum + Buffer.from(data ?? '').length, 0),
  )
  t.equal(written, result.bytes, 'progress ends at the sum of all sizes')
  t.same(
    readdirSync(directory).sort(),
    ['a', 'empty.txt', 'models', 'nested.zip', 'service.json', 'wide-local.txt', 'wide.txt'],
    'clutter of macOS is no part of the content',
  )
})

t.test('comments and ZIP64 end records are fine', async (t) => {
  const options: ZipOptions[] = [
    { comment: 'short' },
    { comment: Buffer.alloc(59, 'c') },
    { comment: Buffer.alloc(0xffff, 'PK') },
    { zip64: {} },
    { zip64: {}, comment: Buffer.alloc(70, 'c') },
    { zip64: { disks: 0 }, count: 2, directoryOffset: zip([ok, ok]).length - 22 - 116 },
  ]
  for (const option of options) {
    const { result } = await run(zip([ok, { name: 'b', data: text }], option))
    const known = option.directoryOffset === undefined
    if (known) t.equal(result.kind, 'unpacked', `${Object.keys(option)} ${JSON.stringify(result)}`)
    else t.equal(result.kind, 'refused', 'two end records that differ are refused')
  }
})

t.test('the same content has the same hash, whatever the archive', async (t) => {
  const b: ZipEntry = { name: 'b.txt', data: text }
  const hash = async (archive: Buffer) => {
    const { result } = await run(archive)
    return result.kind === 'unpacked' ? contentSha256(result.files) : 'refused'
  }
  const first = await hash(zip([ok, b]))
  t.match(first, /^[0-9a-f]{64}$/)
  t.equal(await hash(zip([{ ...b, method: 0 }, ok], { comment: 'other' })), first)
  t.not(await hash(zip([ok, { ...b, data: `${text}.` }])), first)
  t.not(await hash(zip([ok, { ...b, name: 'c.txt' }])), first)
})

t.test('the manifest is at the root, or the fault says where it is', async (t) => {
  const file = (path: string) => ({ path, size: 1, sha256: '' })
  t.same(manifestPath([file('a'), file('service.json')]), { kind: 'found', path: 'service.json' })
  t.match(manifestPath([file('myfolder/service.json')]), {
    kind: 'missing',
    fault: { path: 'service.json', reason: /lies in myfolder\/, it must be at the root/ },
  })
  t.match(manifestPath([file('a')]), { fault: { reason: /is missing/ } })
})

t.test('a manifest that is refused ends the unpacking before the rest is written', async (t) => {
  const path = join(folder, 'late-manifest.zip')
  const directory = join(folder, 'late-manifest')
  mkdirSync(directory)
  const text = (name: string) => ({ name, data: Buffer.from(name) })
  writeFileSync(path, zip([text('a.bin'), text('b/c.bin'), text('service.json')]))
  let listed: string[] = []
  const result = await unpack(path, directory, {
    onManifest: async (files) => {
      listed = files.map((file) => file.path).sort()
      t.same(readdirSync(directory), ['service.json'])
      return false
    },
  })
  t.same(result, { kind: 'stopped' })
  t.same(listed, ['a.bin', 'b/c.bin', 'service.json'], 'it is judged by all that is to come')
  t.same(readdirSync(directory), ['service.json'])
})

t.test('archives of the tools that people have', async (t) => {
  const source = join(folder, 'source')
  mkdirSync(join(source, 'models/deep'), { recursive: true })
  writeFileSync(join(source, 'service.json'), '{}')
  writeFileSync(join(source, 'models/deep/grün.bin'), randomBytes(100_000))
  writeFileSync(join(source, 'models/zeros.bin'), Buffer.alloc(500_000))
  const python = `import shutil,sys; shutil.make_archive(sys.argv[1][:-4], 'zip', '.')`
  const tools: [string, string[]][] = [
    ['zip', ['-qr', 'ARCHIVE', '.']],
    ['zip', ['-qr', '-fd', 'ARCHIVE', '.']],
    ['python3', ['-c', python, 'ARCHIVE']],
  ]
  const hashes = new Set<string>()
  for (const [index, [tool, args]] of tools.entries()) {
    const path = join(folder, `tool${index}.zip`)
    const made = spawnSync(
      tool,
      args.map((arg) => arg.replace('ARCHIVE', path)),
      { cwd: source },
    )
    if (made.error !== undefined) {
      t.pass(tool, { skip: `${tool} is not installed here` })
      continue
    }
    t.equal(made.status, 0, String(made.stderr))
    const { result } = await run(readFileSync(path))
    t.equal(result.kind, 'unpacked', `${tool} ${JSON.stringify(result).slice(0, 500)}`)
    if (result.kind === 'unpacked') hashes.add(contentSha256(result.files))
  }
  t.ok(hashes.size <= 1, 'all of them hold the same')
})

t.test('a bundle that has no room is refused before a byte of it is written', async (t) => {
  const path = join(folder, 'no-room.zip')
  const directory = join(folder, 'no-room')
  mkdirSync(directory)
  writeFileSync(path, zip([ok, { name: 'notes.txt', data: text }]))
  const bytes = 2 + text.length
  const told: number[] = []
  const onProgress = (done: number): void => void told.push(done)
  const detail = `unpacks to ${bytes} bytes; ${bytes - 1} are available`
  await t.rejects(unpack(path, directory, { diskBytesMax: bytes - 1, onProgress }), {
    code: 'ERR_DISK_FULL',
    message: new RegExp(detail),
  })
  t.same(readdirSync(directory), [])
  t.same(told, [])
  t.match(await unpack(path, directory, { diskBytesMax: bytes, onProgress }), { kind: 'unpacked' })
  t.same(told, [0, 2, bytes], 'progress from the first byte to the last')
})
