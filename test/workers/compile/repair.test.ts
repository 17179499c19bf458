/**
 * Goal: what ONNX Runtime writes is dangerous as it is and safe when repaired, and a file that says
 * something else than it holds is refused and never followed.
 *
 * Method: real files of the runtime, loaded as they are in a child that may crash; the same ones
 * repaired and looked at; and changed at random (SEED=… repeats a run).
 */

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { compiled } from '../../../bench/paths.ts'
import { Layout } from '../../../workers/compile/layout.ts'
import { repairedModel } from '../../../workers/compile/repair.ts'
import { ENTRY, GRAPH, MODEL, TENSOR } from '../../../workers/forge/onnx-fields.ts'
import { type Field, WireError, WireFile, writePieces } from '../../../workers/forge/onnx-wire.ts'
import { writeCompiled } from '../../../workers/onnx/session.ts'
import { effort, sayEffort } from '../../tools/effort.ts'
import { FAMILY_COUNT, familyIndex, oddModel } from '../../tools/odd-models.ts'
import { randomOf } from '../../tools/random.ts'

const MUTATIONS = effort(1_000, 50_000)

interface Written {
  readonly folder: string
  readonly name: string
  readonly dataBytes: number
}

function folderOf(t: { teardown(end: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-repair-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** As the runtime writes it. */
async function written(t: { teardown(end: () => void): void }, index: number): Promise<Written> {
  const folder = folderOf(t)
  const { name, files } = oddModel(index)
  for (const [file, bytes] of files) writeFileSync(join(folder, file), bytes)
  const target = { model: join(folder, 'm.onnx'), dataName: 'm.data', bytesMin: 1024 }
  await writeCompiled(join(folder, 'model.onnx'), target)
  const data = statSync(join(folder, 'm.data'), { throwIfNoEntry: false })
  return { folder, name, dataBytes: data?.size ?? 0 }
}

t.test('without the repair processes crash, and models do not load', async (t) => {
  const ends = new Map<string, number>()
  for (let index = 0; index < FAMILY_COUNT; index++) {
    const { folder } = await written(t, index)
    const child = fork(compiled('test/tools/raw-form-child.ts'), [folder], { stdio: 'ignore' })
    const [code, signal] = await once(child, 'exit')
    const how = String(signal ?? code)
    ends.set(how, (ends.get(how) ?? 0) + 1)
  }
  sayEffort(Object.fromEntries(ends))
  t.ok((ends.get('SIGSEGV') ?? 0) > 0, 'some crash')
  t.ok((ends.get('3') ?? 0) > 0, 'some do not load')
  t.ok((ends.get('0') ?? 0) > 0, 'some would do')
})

t.test('what is repaired is aligned, and only that has moved', async (t) => {
  const { folder, dataBytes } = await written(t, familyIndex('gemm'))
  const layout = new Layout(dataBytes, 10 * dataBytes)
  const file = new WireFile(join(folder, 'm.onnx'))
  t.teardown(() => file.close())
  const pieces = repairedModel(file, { dataFile: 'm.data', inputs: ['x'], layout })
  await writePieces(file, pieces, join(folder, 'repaired.onnx'))
  await layout.copy(join(folder, 'm.data'), join(folder, 'repaired.data'))
  const [before, after] = [placesIn(folder, 'm.onnx'), placesIn(folder, 'repaired.onnx')]
  const old = readFileSync(join(folder, 'm.data'))
  const copy = readFileSync(join(folder, 'repaired.data'))
  t.ok(
    before.some(({ offset }) => offset % 64 !== 0),
    'some were not aligned',
  )
  t.ok(after.length > 1)
  t.equal(after.length, before.length)
  for (const [i, { offset, length }] of after.entries()) {
    const unit = length >= 65_536 ? 4096 : 64
    t.equal(offset % unit, 0)
    const from = before[i]?.offset ?? 0
    t.equal(length, before[i]?.length)
    t.ok(old.subarray(from, from + length).equals(copy.subarray(offset, offset + length)))
  }
  t.equal(copy.length, layout.bytes)
})

/** Ranges of the data file: weights and, behind each, its packed blobs. */
function placesIn(folder: string, name: string): { offset: number; length: number }[] {
  const file = new WireFile(join(folder, name))
  const children = (field: Field, number: number): Field[] =>
    [...file.fields(file.message(field))].filter((one) => one.number === number)
  const text = (field: Field, number: number): string =>
    children(field, number)
      .map((one) => file.text(one))
      .join('')
  const whole = [...file.fields({ start: 0, end: file.size })]
  const weights = whole
    .filter(({ number }) => number === MODEL.graph)
    .flatMap((graph) => children(graph, GRAPH.initializer))
  const places = weights.flatMap((weight) => {
    const entries = children(weight, TENSOR.externalData).map(
      (entry) => [text(entry, ENTRY.key), text(entry, ENTRY.value)] as const,
    )
    if (entries.length === 0) return []
    const { offset = '0', length, ...rest } = Object.fromEntries(entries)
    const blobs = Object.entries(rest)
      .filter(([key]) => key.startsWith('prepacked'))
      .flatMap(([, value]) =>
        value
          .split('|')
          .slice(1)
          .map((blob) => blob.split(';')),
      )
    return [[offset, length], ...blobs].map(([from, size]) => ({
      offset: Number(from),
      length: Number(size),
    }))
  })
  file.close()
  return places
}

t.test('a layout follows no lie', async (t) => {
  const layout = new Layout(1_000, 5_000)
  t.equal(layout.place(1, 10), 0)
  t.equal(layout.place(20, 10), 64)
  t.equal(layout.place(1, 10), 0, 'named twice, copied once')
  t.equal(layout.packed('a+b|1;10;0|30;5;7'), 'a+b|0;10;0|128;5;7')
  t.throws(() => layout.place(991, 10), WireError)
  for (const text of ['key|x;5;0', 'key|-1;5;0', 'key|1;;0', 'key|1', 'key|1e3;5;0', 'key|']) {
    t.throws(() => layout.packed(text), WireError, text)
  }
  t.equal(layout.packed('no blob'), 'no blob')
  const wide = new Layout(1_000, 100)
  t.throws(() => wide.place(0, 101), /more than 100 bytes/)
  const folder = folderOf(t)
  writeFileSync(join(folder, 'short'), 'abc')
  const promised = new Layout(1_000, 5_000)
  promised.place(0, 900)
  await t.rejects(promised.copy(join(folder, 'short'), join(folder, 'out')), /cut short/)
})

t.test('files that were changed at random are repaired or refused', async (t) => {
  const random = randomOf()
  t.comment(`SEED=${random.seed}`)
  const indexes = Array.from({ length: FAMILY_COUNT }, (_, index) => index)
  const models = await Promise.all(indexes.map((index) => written(t, index)))
  const folder = folderOf(t)
  const counts = { repaired: 0, refused: 0 }
  for (let i = 0; i < MUTATIONS; i++) {
    const { folder: source, dataBytes } = random.pick(models)
    const bytes = Buffer.from(readFileSync(join(source, 'm.onnx')))
    for (let k = random.below(4); k >= 0; k--) bytes[random.below(bytes.length)] = random.below(256)
    const path = join(folder, 'changed.onnx')
    writeFileSync(path, bytes.subarray(0, bytes.length - (i % 3 === 0 ? random.below(200) : 0)))
    const layout = new Layout(dataBytes, 3 * dataBytes + 4096)
    const file = new WireFile(path)
    try {
      repairedModel(file, { dataFile: 'm.data', inputs: ['x', 'x0', 'word'], layout })
      counts.repaired += 1
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      counts.refused += 1
    } finally {
      file.close()
    }
    if (layout.bytes > 3 * dataBytes + 4096) t.fail('it takes more than it may')
  }
  sayEffort({ mutations: MUTATIONS, ...counts })
  t.ok(counts.repaired > 0 && counts.refused > 0)
})
