/**
 * Goal: a form that is as it was made is loaded, else the original; whatever was done to its files,
 * no thread ever computes with them.
 *
 * Method: a form of another model is put in the place of the right one, so that the answers tell
 * which of the two was loaded; then each of its files is damaged in each way.
 */

import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { compiledKey, parseCompiledRecord } from '../../../core/bundle/compiled.ts'
import { CheckedForms } from '../../../core/engine/checked-forms.ts'
import { compileModel } from '../../../workers/compile/compile.ts'
import { CheckedForm } from '../../../workers/onnx/checked-form.ts'
import { openServed } from '../../../workers/onnx/served-model.ts'
import { Tensor } from '../../../workers/onnx/session.ts'
import { compileRequest } from '../../tools/compiling.ts'
import { denseModel } from '../../tools/dense-model.ts'
import { endpoint, generationPlan, prediction } from '../../tools/plans.ts'

const MACHINE = 'this one'
const SHA = 'the model'
const KEY = compiledKey(MACHINE, SHA)
const PLAN = prediction({ kind: 'RAW', model: 'model.onnx', weights: { bytes: 1, sha256: SHA } })

const root = mkdtempSync(join(tmpdir(), 'switchyard-forms-'))
t.teardown(() => {
  for (const name of readdirSync(root, { recursive: true }))
    chmodSync(join(root, String(name)), 0o700)
  rmSync(root, { recursive: true })
})

/** A generation whose model is not that of its form. */
async function setUp(name: string) {
  const directory = join(root, name)
  const folder = join(directory, 'compiled')
  mkdirSync(folder, { recursive: true })
  const make = (seed: number) => denseModel({ width: 67, layers: 3, seed })
  writeFileSync(join(directory, 'model.onnx'), make(2))
  const request = await compileRequest(folder, { directory, model: 'model.onnx' })
  const outcome = await compileModel({ ...request, key: KEY }, () => {})
  if (outcome.kind !== 'compiled') throw new Error(outcome.reason)
  writeFileSync(join(directory, 'model.onnx'), make(1))
  return { directory, folder, form: join(folder, KEY) }
}

const base = await setUp('base')

/** A copy of the first one, to be damaged. */
function copy(name: string) {
  const directory = join(root, name)
  cpSync(base.directory, directory, { recursive: true })
  const folder = join(directory, 'compiled')
  return { directory, folder, form: join(folder, KEY) }
}

type Place = ReturnType<typeof copy>

/** Which of the two answered, and what was logged. */
async function served(
  { directory, folder }: Place,
  checked: Readonly<Record<string, SharedArrayBuffer>> = {},
  machine = MACHINE,
) {
  const said: string[] = []
  const log = (_: string, { reason }: { readonly reason?: unknown }) => said.push(String(reason))
  const context = { compiled: { folder, machine }, checked, log }
  const model = await openServed(directory, PLAN, context)
  const x0 = new Tensor(
    'float32',
    Float32Array.from({ length: 10 }, (_, i) => i),
    [1, 10],
  )
  const answer = String((await model.run({ x0 }))['x4']?.data)
  await model.release()
  return { answer, said }
}

async function original(): Promise<string> {
  const context = { compiled: null, checked: {}, log: () => {} }
  const model = await openServed(base.directory, PLAN, context)
  const x0 = new Tensor(
    'float32',
    Float32Array.from({ length: 10 }, (_, i) => i),
    [1, 10],
  )
  const answer = String((await model.run({ x0 }))['x4']?.data)
  await model.release()
  return answer
}

/** Puts the form back as it may only be for a moment: open. */
function opened({ form }: Place, name: string, change: (path: string) => void): void {
  chmodSync(form, 0o755)
  chmodSync(join(form, name), 0o644)
  change(join(form, name))
  if (existsSync(join(form, name))) chmodSync(join(form, name), 0o444)
  chmodSync(form, 0o555)
}

function flip(path: string): void {
  const bytes = readFileSync(path)
  const at = Math.floor(bytes.length / 2)
  bytes[at] = (bytes[at] ?? 0) ^ 16
  writeFileSync(path, bytes)
}

const DAMAGES: Readonly<Record<string, (place: Place) => void>> = {
  'a bit of the data': (place) => opened(place, 'm.data', flip),
  'a bit of the model': (place) => opened(place, 'm.onnx', flip),
  'data cut short': (place) => opened(place, 'm.data', (path) => truncateSync(path, 100)),
  'model cut short': (place) => opened(place, 'm.onnx', (path) => truncateSync(path, 100)),
  'no data': (place) => opened(place, 'm.data', rmSync),
  'no model': (place) => opened(place, 'm.onnx', rmSync),
  'no record': (place) => opened(place, 'record.json', rmSync),
  'record of another form': (place) =>
    opened(place, 'record.json', (path) => writeFileSync(path, '{"form":"compiled"}')),
  'record is no JSON': (place) =>
    opened(place, 'record.json', (path) => writeFileSync(path, '{"form":')),
  'one file more': (place) => {
    chmodSync(place.form, 0o755)
    writeFileSync(join(place.form, 'more'), '', { mode: 0o444 })
    chmodSync(place.form, 0o555)
  },
  'data that may be written': ({ form }) => chmodSync(join(form, 'm.data'), 0o644),
  'model that may be written': ({ form }) => chmodSync(join(form, 'm.onnx'), 0o644),
  'record that may be written': ({ form }) => chmodSync(join(form, 'record.json'), 0o666),
  'folder that may be written': ({ form }) => chmodSync(form, 0o755),
}

t.test('a good form is loaded; none, or one of another machine, is not', async (t) => {
  const plain = await original()
  const { answer, said } = await served(base)
  t.not(answer, plain, 'the form has answered')
  t.same(said, [])
  t.match(await served(base, {}, 'another machine'), { answer: plain, said: [] })
  const none = copy('none')
  for (const file of readdirSync(none.form)) chmodSync(join(none.form, file), 0o600)
  rmSync(none.form, { recursive: true })
  t.match(await served(none), { answer: plain, said: [] })
  const other = copy('other-runtime')
  opened(other, 'record.json', (path) => {
    writeFileSync(path, readFileSync(path, 'utf8').replace(/onnxruntime-node [^"]+/, 'other 1.0'))
  })
  t.match(await served(other), { answer: plain, said: [] })
  const noted = copy('noted')
  opened(noted, 'record.json', (path) => {
    writeFileSync(path, JSON.stringify({ form: 'original', createdOn: 1, reason: 'no' }))
  })
  t.match(await served(noted), { answer: plain, said: [] })
})

for (const [name, damage] of Object.entries(DAMAGES)) {
  t.test(`damaged: ${name}`, async (t) => {
    const place = copy(`damaged ${name}`)
    damage(place)
    const first = await served(place)
    t.equal(first.answer, await original())
    t.equal(first.said.length, 1)
    t.notOk(existsSync(place.form), 'nobody finds it any more')
    t.equal(readdirSync(place.folder).length, 1, 'it lies aside')
    t.match(await served(place), { answer: first.answer, said: [] })
  })
}

t.test('threads of a process check a form once, and a new one again', async (t) => {
  const place = copy('once')
  const settings = { folder: place.folder, machine: MACHINE }
  const forms = new CheckedForms(settings)
  const checked = forms.of(generationPlan([endpoint(PLAN)]))
  t.same(Object.keys(checked), [KEY])
  t.equal(forms.of(generationPlan([endpoint(PLAN)]))[KEY], checked[KEY], 'for all generations')
  const { answer } = await served(place, checked)
  opened(place, 'm.data', flip)
  const second = await served(place, checked)
  t.same(second.said, [], 'it was read by the first')
  t.not(second.answer, await original())
  // As if it had been made anew meanwhile.
  opened(place, 'record.json', (path) => writeFileSync(path, readFileSync(path)))
  const third = await served(place, checked)
  t.equal(third.said.length, 1)
  t.equal(third.answer, await original())
  t.not(answer, third.answer)
})

t.test('a lock is for one at a time, and records must be whole', async (t) => {
  const cell = new SharedArrayBuffer(16)
  const [one, other] = [new CheckedForm(cell), new CheckedForm(cell)]
  const release = one.lock()
  t.notOk(other.isGood(5n))
  one.setGood(5n)
  release()
  other.lock()()
  t.ok(other.isGood(5n))
  t.notOk(other.isGood(6n))
  const good = readFileSync(join(base.form, 'record.json'), 'utf8')
  t.match(parseCompiledRecord(good), { form: 'compiled' })
  for (const wrong of ['', 'null', '[]', '{}', good.replace('m.onnx', '../m.onnx')]) {
    t.equal(parseCompiledRecord(wrong), null, wrong.slice(0, 20))
  }
  t.equal(parseCompiledRecord(good.replace('"m.onnx"', '"m.data"')), null, 'no model')
})
