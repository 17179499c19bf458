/**
 * Goal: an archive that lies is refused with reasons that name the entry, before its lie does harm,
 * and nothing is written outside the directory.
 *
 * Method: archives made by a writer that can lie in every field, one for each known way to deceive
 * an unzipper; then a good one cut at every percent and changed at random (SEED=… repeats a run).
 */

import { randomBytes } from 'node:crypto'
import { readdirSync, rmSync } from 'node:fs'
import { deflateRawSync } from 'node:zlib'
import t from 'tap'
import { type ZipEntry, zip } from '../../../bench/workloads/zip-writer.ts'
import { LIMITS } from '../../../core/config/limits.ts'
import { unpacking } from '../../tools/unpacking.ts'

const { run, refusal } = unpacking(t)
const ok: ZipEntry = { name: 'service.json', data: '{}' }
const text = 'a model in words, words, words, words, words'

t.test('names that lead elsewhere, or look like others, are refused', async (t) => {
  const bad: [string | Buffer, RegExp][] = [
    ['../x', /leads upwards/],
    ['d/../../x', /leads upwards/],
    ['..\\x', /backslash/],
    ['d\\x', /backslash/],
    ['/etc/x', /absolute/],
    ['//server/share', /absolute/],
    ['C:/x', /drive letter/],
    ['c:x', /drive letter/],
    ['a/./b', /"\." segment/],
    ['a//b', /empty segment/],
    ['', /empty/],
    ['/', /empty/],
    ['.', /"\." segment/],
    ['..', /leads upwards/],
    ['.switchyard/tables/a/data.mdb', /folder of what the node makes/],
    ['.Switchyard', /folder of what the node makes/],
    ['a./b', /ends with a dot or a space/],
    ['a ', /ends with a dot or a space/],
    ['a\0b', /control character/],
    ['a\nb', /control character/],
    ['a\u0085b', /control character/],
    ['a\u202egpj.exe', /writing direction/],
    ['a\u2066b', /writing direction/],
    [Buffer.from([0x61, 0xff]), /not UTF-8/],
    [Buffer.from([0xc0, 0xae, 0xc0, 0xae, 0x2f, 0x78]), /not UTF-8/],
    ['x'.repeat(256), /segment is longer than 255 bytes/],
    ['ü'.repeat(128), /segment is longer than 255 bytes/],
    [`${'d/'.repeat(3000)}x`, /longer than 1024 bytes.*\n.*deeper than 32 levels/],
  ]
  for (const [name, reason] of bad) {
    const lines = await refusal(zip([ok, { name, data: text }]))
    t.match(lines, reason, JSON.stringify(String(name).slice(0, 30)))
    t.notMatch(lines, /[\0\u0085\u202e\u2066]/, 'no such character reaches the message')
  }
})

t.test('what is no regular file is refused', async (t) => {
  const bad: [ZipEntry, RegExp][] = [
    [{ name: 'l', data: '../x', mode: 0o120777 }, /no regular file/],
    [{ name: 'l', data: '../x', mode: 0o120777, madeBy: 0 }, /no regular file/],
    [{ name: 'fifo', mode: 0o010644 }, /no regular file/],
    [{ name: 'device', mode: 0o060644 }, /no regular file/],
    [{ name: 'tty', mode: 0o020644 }, /no regular file/],
    [{ name: 'socket', mode: 0o140644 }, /no regular file/],
    [{ name: 'd', mode: 0o040755 }, /marked as a directory/],
    [{ name: 'd', dosAttributes: 0x10, madeBy: 0 }, /marked as a directory/],
    [{ name: 'f/', mode: 0o100644 }, /marked as a file/],
    [{ name: 'f/', data: text }, /a directory holds no bytes/],
  ]
  for (const [entry, reason] of bad) t.match(await refusal(zip([ok, entry])), reason)
  const through = [ok, { name: 'l', data: '..', mode: 0o120777 }, { name: 'l/pwn', data: text }]
  t.match(await refusal(zip(through)), /l: it is no regular file[\s\S]*both a file and a directory/)
  const twice = [ok, { name: 'l', data: '../x', mode: 0o120777 }, { name: 'l', data: text }]
  t.match(await refusal(zip(twice)), /there twice[\s\S]*no regular|no regular[\s\S]*there twice/)
})

t.test('two names for one place are refused', async (t) => {
  const bad: [string, string, RegExp][] = [
    ['a', 'a', /twice/],
    ['d/', 'd/', /twice/],
    ['Model.onnx', 'model.onnx', /case or Unicode form only/],
    ['D/a', 'd/b', /"d" differs from "D" in case/],
    ['caf\u00e9', 'cafe\u0301', /case or Unicode form only/],
    ['stra\u00dfe', 'STRASSE', /case or Unicode form only/],
    ['a', 'a/b', /both a file and a directory/],
    ['a/b', 'a', /both a file and a directory/],
    ['a/b/', 'a/b', /both a file and a directory/],
  ]
  for (const [first, second, reason] of bad) {
    const data = (name: string) => (name.endsWith('/') ? {} : { data: text })
    const entries = [
      { name: first, ...data(first) },
      { name: second, ...data(second) },
    ]
    t.match(await refusal(zip([ok, ...entries])), reason, `${first} and ${second}`)
  }
  const { result } = await run(zip([{ name: 'd/x', data: text }, { name: 'd/' }, ok]))
  t.equal(result.kind, 'unpacked', 'a directory may be named behind its files')
})

t.test('data that is not what was declared is refused', async (t) => {
  const bad: [ZipEntry, RegExp][] = [
    [{ name: 'x', data: text, crc32: 1 }, /x: its CRC-32 is wrong/],
    [{ name: 'x', data: text, method: 0, crc32: 1 }, /x: its CRC-32 is wrong/],
    [{ name: 'x', data: text, bytes: 5 }, /longer than the 5 bytes/],
    [{ name: 'x', data: text, bytes: 500 }, /shorter than the 500 bytes/],
    [{ name: 'x', data: text, method: 0, bytes: 5 }, /two sizes differ/],
    [{ name: 'x', data: text, bytes: 0 }, /longer than the 0 bytes/],
    [{ name: 'x', data: text, packed: randomBytes(60).fill(0xff, 0, 4) }, /data is damaged/],
    [{ name: 'x', data: text, packed: deflateRawSync(text).subarray(0, 20) }, /data is damaged/],
    [{ name: 'x', data: text, packed: Buffer.alloc(0) }, /data is damaged|shorter/],
    [
      { name: 'x', data: text, packed: Buffer.concat([deflateRawSync(text), Buffer.from('more')]) },
      /bytes follow the end/,
    ],
  ]
  for (const [entry, reason] of bad) t.match(await refusal(zip([ok, entry])), reason)
})

t.test('bombs are refused before they go off', async (t) => {
  const zeros = deflateRawSync(Buffer.alloc(300 * 1024 * 1024), { level: 1 })
  const liar = await run(zip([{ name: 'liar', packed: zeros, data: '0123456789', method: 8 }]))
  t.match(liar.result, { kind: 'refused', faults: [{ reason: /longer than the 10 bytes/ }] })
  t.equal(liar.written, 0, 'not a byte beyond the declared size is written')
  const honest = await run(
    zip([{ name: 'bomb', packed: zeros, bytes: 300 * 1024 * 1024, method: 8 }]),
  )
  t.match(honest.result, { faults: [{ path: 'bomb', reason: /more than 200 times/ }] })
  t.same(readdirSync(honest.directory), [], 'refused by its numbers alone')

  const small = zip([{ name: 'a', data: Buffer.alloc(900_000) }])
  t.equal((await run(small)).result.kind, 'unpacked', 'a small file may be packed at any ratio')
  const overlap = Array.from({ length: 90 }, (_, index) => {
    return { name: `${index}`, data: Buffer.alloc(900_000), offset: 0, directoryOnly: index > 0 }
  })
  t.match(await refusal(zip(overlap)), /1: its name differs[\s\S]*1: it shares bytes with "0"/)
  const shell = { name: 'a', data: zip([{ name: 'b', data: text }]), method: 0 }
  const quoted = zip([shell, { name: 'b', data: text, offset: 31, directoryOnly: true }])
  t.equal(await refusal(quoted), 'b: it shares bytes with "a" (overlapping entries)')
  const inside = zip([
    ok,
    { name: 'o', data: text },
    { name: 'p', data: text, offset: 10, directoryOnly: true },
  ])
  t.match(await refusal(inside), /p: no local header[\s\S]*p: it shares bytes with "service.json"/)

  const huge = { method: 0, packed: Buffer.alloc(0), bytes: 3 * 2 ** 30, packedBytes: 3 * 2 ** 30 }
  t.match(await refusal(zip([{ name: 'h', ...huge }])), /outside the archive/)
})

t.test('counts that are too high, or lie, are refused without reading on', async (t) => {
  const many = Array.from({ length: LIMITS.bundleEntriesMax + 1 }, (_, i) => ({ name: `${i}` }))
  t.match(await refusal(zip(many)), /10001 entries; the limit is 10000/)
  const two = [ok, { name: 'b', data: text }]
  t.match(await refusal(zip(two, { count: 1 })), /not hold as many entries/)
  t.match(await refusal(zip(two, { count: 3 })), /directory/)
  t.match(await refusal(zip(two, { count: 60_000 })), /60000 entries/)
  t.match(await refusal(zip(two, { zip64: { count: 2 ** 40 } })), /entries; the limit/)
  t.match(await refusal(zip(two, { zip64: { count: 3 } })), /directory/)
  t.match(await refusal(zip(two, { countOnDisk: 1 })), /two entry counts differ/)
  t.match(await refusal(zip([])), /no files/)
  t.match(await refusal(zip([{ name: 'd/' }, { name: '.DS_Store', data: 'x' }])), /no files/)
})

t.test('encryption, other methods, parts, wrong places', async (t) => {
  const x = { name: 'x', data: text }
  const bad: [Buffer, RegExp][] = [
    [zip([ok, { ...x, flags: 1 }]), /x: it is encrypted/],
    [zip([ok, { ...x, flags: 0x41 }]), /x: it is encrypted/],
    [zip([ok, { ...x, flags: 0x2000 }]), /x: it is encrypted/],
    [zip([ok, { ...x, flags: 0x20 }]), /patch/],
    [zip([ok, { ...x, method: 99 }]), /method 99 is not supported/],
    [zip([ok, { ...x, method: 14 }]), /method 14 is not supported/],
    [zip([ok, { ...x, disk: 1 }]), /x: .*multi-disk/],
    [zip([ok, x], { disk: 1 }), /archive: .*multi-disk/],
    [zip([ok, x], { zip64: { disks: 2 } }), /multi-disk/],
    [zip([ok, { ...x, zip64: 'missing' }]), /ZIP64 field is missing/],
    [zip([ok, x], { zip64: { locatorOffset: 2 ** 50 } }), /locator points outside/],
    [zip([ok, x], { zip64: { locatorOffset: 3 } }), /locator points at no record/],
    [zip([ok, x], { zip64: { signature: 1 } }), /locator points at no record/],
    [zip([ok, x], { zip64: { recordBytes: 45 } }), /size of its ZIP64 record/],
    [zip([ok, x], { zip64: { directoryOffset: 2 ** 52 } }), /directory lies beyond/],
    [zip([ok, x], { zip64: {}, count: 1 }), /ZIP64 record differ/],
    [zip([ok, x], { directoryOffset: 0xfffffff0 }), /directory lies beyond/],
    [zip([ok, x], { directoryOffset: 0 }), /does not end at the end record/],
    [zip([ok, x], { directoryBytes: 3 }), /does not end at the end record/],
    [zip([ok, x], { prefix: Buffer.from('#!/bin/sh\n') }), /bytes were put before/],
    [zip([ok, x], { prefix: Buffer.from('#!/bin/sh\n'), prefixCounted: true }), /in front of/],
    [zip([ok, x], { gap: Buffer.from('gap') }), /bytes were put before or between/],
    [zip([ok, x], { suffix: Buffer.from('tail') }), /bytes behind its end/],
    [zip([ok, x], { comment: zip([ok]) }), /second end record/],
    [zip([ok, { ...x, offset: 5 }]), /no local header/],
    [zip([ok, { ...x, offset: 2 ** 31 }]), /outside the archive/],
    [Buffer.from('no archive at all, but long enough to be one'), /no ZIP archive/],
    [Buffer.alloc(0), /no ZIP archive/],
  ]
  for (const [archive, reason] of bad) t.match(await refusal(archive), reason)
})

t.test('a local header that says something else is refused', async (t) => {
  const x = { name: 'x', data: text }
  const unicodePath = Buffer.concat([
    Buffer.from('75700a00010000000079', 'hex'),
    Buffer.from('yyyy'),
  ])
  const bad: [ZipEntry['local'], RegExp][] = [
    [{ name: 'y' }, /x: its name differs/],
    [{ name: 'xy' }, /name differs|beyond/],
    [{ bytes: 3 }, /sizes differ/],
    [{ crc32: 3 }, /CRC-32 differs/],
    [{ method: 0 }, /method differs/],
    [{ flags: 1 }, /flags differ/],
    [{ extra: unicodePath }, /second name/],
  ]
  for (const [local, reason] of bad) {
    t.match(
      await refusal(zip([ok, { ...x, local: local ?? {} }, { name: 'z', data: text }])),
      reason,
    )
  }
})

t.test('all faults are told at once, and not too many of them', async (t) => {
  const entries = [
    ok,
    { name: '../a', data: text, flags: 1 },
    { name: 'b', data: text, method: 12 },
  ]
  const lines = (await refusal(zip(entries))).split('\n')
  t.equal(lines.length, 3, lines.join())
  const many = Array.from({ length: 500 }, (_, index) => ({ name: `../${index}`, data: text }))
  const cut = (await refusal(zip(many))).split('\n')
  t.equal(cut.length, 101)
  t.match(cut[100], /400 more faults/)
})

t.test('cut at every percent and changed at random: refused or right, never a crash', async (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
  t.comment(`SEED=${seed}`)
  let state = seed
  const random = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
    return Math.floor((state / 0x80000000) * below)
  }
  const entries: ZipEntry[] = [
    ok,
    { name: 'm/a.bin', data: randomBytes(300), zip64: 'both' },
    { name: 'm/b.txt', data: text.repeat(9), descriptor: true },
    { name: 'm/c', data: text, method: 0 },
  ]
  const whole = zip(entries, { zip64: {}, comment: 'end' })
  const right = (await run(whole)).result
  t.equal(right.kind, 'unpacked')
  for (let percent = 0; percent < 100; percent++) {
    const { result } = await run(whole.subarray(0, Math.floor((whole.length * percent) / 100)))
    if (result.kind !== 'refused') t.fail(`cut at ${percent} % and accepted`)
  }
  let accepted = 0
  for (let round = 0; round < 300; round++) {
    const copy = Buffer.from(whole)
    const changes = 1 + random(3)
    for (let change = 0; change < changes; change++) copy[random(copy.length)] = random(256)
    const { result, directory } = await run(copy)
    rmSync(directory, { recursive: true })
    if (result.kind !== 'unpacked') continue
    accepted += 1
    const names = new Set(entries.map(({ name }) => name))
    const same = result.files
      .filter(({ path }) => names.has(path))
      .every((file) => {
        const before =
          right.kind === 'unpacked' && right.files.find(({ path }) => path === file.path)
        return before !== false && before?.sha256 === file.sha256
      })
    if (!same) t.fail(`round ${round}: accepted with other content`)
  }
  t.comment(`${accepted} of 300 changes hit what nobody reads (dates, comments)`)
  t.ok(accepted < 150)
})
