/**
 * Goal: a compiled form is there while a generation needs it, once for all of them, within its room
 * on the disk; and whatever is wrong with it or short of it, imports and services go on.
 *
 * Method: the real control plane and folder of forms; what makes a form is a function here, which
 * makes small ones of the true shape, or fails as told.
 */

import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { CompileOutcome, CompileTask } from '../../../admin/contracts.ts'
import { CompiledForms } from '../../../admin/operations/compiled-forms.ts'
import { DiskSpace } from '../../../admin/store/space.ts'
import { SILENT } from '../../../core/base/logger.ts'
import { COMPILED_MODEL, compiledKey } from '../../../core/bundle/compiled.ts'
import { UnfinishedForm } from '../../../workers/compile/form.ts'
import { removeForm } from '../../tools/compiling.ts'
import { type ControlPlane, openControlPlane, upload } from '../../tools/control-plane.ts'
import { freshHome } from '../../tools/node.ts'

const MIB = 1024 * 1024
/** Of a model; its form is as large. */
const WEIGHTS = MIB
const ref = (generationId: string, serviceId = 's') => ({ serviceId, generationId })

interface Maker {
  readonly asked: string[]
  /** Answers instead of making a form. */
  outcome: CompileOutcome | null
}

interface Settings {
  readonly directory?: string
  readonly machine?: string
  readonly bytesMax?: number
  readonly space?: DiskSpace
  readonly outcome?: CompileOutcome
}

async function opened(t: Test, settings: Settings = {}) {
  const { directory = freshHome(t), machine = 'one', bytesMax = 100 * MIB } = settings
  const maker: Maker = { asked: [], outcome: settings.outcome ?? null }
  const { space } = settings
  const plane = await openControlPlane(directory, {
    ...(space === undefined ? {} : { space }),
    forms: (home) =>
      new CompiledForms({
        settings: { folder: home.compiled, machine },
        bytesMax,
        weightBytesMin: 1,
        compile: (task) => compile(maker, task),
        logger: SILENT,
      }),
  })
  t.teardown(() => {
    for (const name of names(plane)) removeForm(join(plane.home.compiled, name))
    return plane.close()
  })
  return { plane, maker }
}

async function compile(maker: Maker, task: CompileTask): Promise<CompileOutcome> {
  maker.asked.push(task.sha256)
  if (maker.outcome !== null) return maker.outcome
  const form = new UnfinishedForm(task.folder, task.key)
  await form.make()
  writeFileSync(join(form.path, COMPILED_MODEL), Buffer.alloc(task.modelBytes))
  const createdOn = maker.asked.length
  await form.finish({ form: 'compiled', createdOn, runtime: 'none', runs: 1 })
  return { kind: 'compiled', bytes: task.modelBytes, runs: 1, durationMs: 1, peakMemoryBytes: 1 }
}

function names({ home }: ControlPlane): string[] {
  return existsSync(home.compiled) ? readdirSync(home.compiled).sort() : []
}

const keyOf = (sha256: string, machine = 'one'): string => compiledKey(machine, sha256)

async function imported(plane: ControlPlane, name: string, sha256: string): Promise<void> {
  const weights = { bytes: WEIGHTS, sha256 }
  await upload(plane, name, { content: `${name} ${sha256}`, weights })
}

function formOf(plane: ControlPlane, generationId: string) {
  return plane.operations.getGeneration(ref(generationId)).compiled?.[0]
}

t.test('generations with the same model share a form, until the last of them goes', async (t) => {
  const { plane, maker } = await opened(t)
  await plane.operations.createService('s', 'me')
  await imported(plane, 'v1', 'a')
  await imported(plane, 'v2', 'a')
  await imported(plane, 'v3', 'b')
  t.same(maker.asked, ['a', 'b'])
  t.same(names(plane), [keyOf('a'), keyOf('b')].sort())
  t.match(formOf(plane, 'v2'), { endpointId: 'score', form: 'compiled', reason: null })
  t.equal(formOf(plane, 'v2')?.bytes, WEIGHTS)
  await plane.operations.deleteGeneration(ref('v1'), 'me')
  t.same(names(plane), [keyOf('a'), keyOf('b')].sort())
  await plane.operations.deleteGeneration(ref('v2'), 'me')
  t.same(names(plane), [keyOf('b')])
  await upload(plane, 'small', { content: 'small' })
  t.match(formOf(plane, 'small'), { form: 'original', reason: /less than 1 MiB/ })
  await plane.operations.deleteService('s', 'me')
  t.same(names(plane), [])
})

t.test('modes say that nobody writes to a form', async (t) => {
  const { plane } = await opened(t)
  await plane.operations.createService('s', 'me')
  await imported(plane, 'v1', 'a')
  const form = join(plane.home.compiled, keyOf('a'))
  t.equal(statSync(form).mode & 0o777, 0o555)
  for (const file of readdirSync(form)) t.equal(statSync(join(form, file)).mode & 0o777, 0o444)
})

t.test('what cannot be compiled is served as it is, and says why', async (t) => {
  const refusal = { kind: 'original', reason: 'output "y" differs', lasting: true } as const
  const { plane, maker } = await opened(t, { outcome: refusal })
  await plane.operations.createService('s', 'me')
  await imported(plane, 'v1', 'a')
  t.match(formOf(plane, 'v1'), { form: 'original', reason: refusal.reason, bytes: 0 })
  await imported(plane, 'v2', 'a')
  await plane.operations.compileModels()
  t.same(maker.asked, ['a'], 'it would be the same again')
  maker.outcome = { kind: 'original', reason: 'no memory', lasting: false }
  await imported(plane, 'v3', 'b')
  t.match(formOf(plane, 'v3'), { form: 'original', reason: 'no memory' })
  await plane.operations.compileModels()
  t.same(maker.asked, ['a', 'b'], 'not now')
  t.same(names(plane), [keyOf('a')], 'a note')
  const { directory } = plane
  await plane.close()
  const again = await opened(t, { directory })
  t.match(formOf(again.plane, 'v1'), { form: 'original', reason: refusal.reason })
  t.match(formOf(again.plane, 'v3'), { form: 'original', reason: /not compiled yet/ })
  await again.plane.operations.compileModels()
  t.same(again.maker.asked, ['b'])
  t.match(formOf(again.plane, 'v3'), { form: 'compiled' })
})

t.test('after a start on another machine all are made anew, what serves first', async (t) => {
  const { plane } = await opened(t)
  await plane.operations.createService('s', 'me')
  for (const name of ['a', 'b', 'c']) await imported(plane, name, name)
  await plane.operations.switchTo(ref('b'), 'me')
  const { directory, home } = plane
  await plane.close()
  mkdirSync(join(home.compiled, `${keyOf('a')}.0123456789ab`))
  mkdirSync(join(home.compiled, 'notes'))
  const { plane: next, maker } = await opened(t, { directory, machine: 'two' })
  t.same(names(next), ['notes'], 'those of the other machine, and one that was never finished')
  t.match(formOf(next, 'b'), { form: 'original', reason: /not compiled yet/ })
  await next.operations.compileModels()
  t.same(maker.asked, ['b', 'c', 'a'])
  t.match(formOf(next, 'a'), { form: 'compiled' })
})

t.test('one that was found damaged is made again', async (t) => {
  const { plane, maker } = await opened(t)
  await plane.operations.createService('s', 'me')
  await imported(plane, 'v1', 'a')
  const form = join(plane.home.compiled, keyOf('a'))
  // As a serving process does with it.
  renameSync(form, `${form}.0123456789ab`)
  await plane.operations.compileModels()
  t.same(maker.asked, ['a', 'a'])
  t.same(names(plane), [keyOf('a')])
})

t.test('room is for what serves: the oldest of the others go', async (t) => {
  // Each is taken for 2.2 times its weights before it is there.
  const { plane, maker } = await opened(t, { bytesMax: 4.5 * MIB })
  await plane.operations.createService('s', 'me')
  for (const name of ['a', 'b', 'c']) await imported(plane, name, name)
  await plane.operations.switchTo(ref('a'), 'me')
  t.same(names(plane), ['a', 'b', 'c'].map((name) => keyOf(name)).sort())
  await imported(plane, 'd', 'd')
  t.same(names(plane), ['a', 'c', 'd'].map((name) => keyOf(name)).sort(), 'b was the oldest')
  await plane.operations.compileModels()
  t.match(formOf(plane, 'b'), { form: 'original', reason: /compiledBytesMax/ })
  t.same(names(plane), ['a', 'c', 'd'].map((name) => keyOf(name)).sort(), 'nothing goes for b')
  t.equal(maker.asked.length, 4)
  await plane.operations.deleteGeneration(ref('c'), 'me')
  await plane.operations.deleteGeneration(ref('d'), 'me')
  await plane.operations.compileModels()
  t.match(formOf(plane, 'b'), { form: 'compiled' }, 'there is room again')
})

t.test('without space on the disk an import goes on', async (t) => {
  const MAX = 64 * MIB
  const full = () => ({ bavail: MAX, bsize: 1, blocks: 0 })
  const space = new DiskSpace('.', () => Object.assign(statfsSync('.'), full()))
  const { plane, maker } = await opened(t, { space })
  await plane.operations.createService('s', 'me')
  const weights = { bytes: 20 * MIB, sha256: 'a' }
  await upload(plane, 'v1', { content: 'v1', weights })
  t.same(maker.asked, [])
  t.match(formOf(plane, 'v1'), { form: 'original', reason: /bytes of the disk/ })
  await plane.operations.switchTo(ref('v1'), 'me')
})

t.test('after a crash a form is not used again; cleaning removes what nobody needs', async (t) => {
  const { plane, maker } = await opened(t)
  await plane.operations.createService('s', 'me')
  await imported(plane, 'v1', 'a')
  await imported(plane, 'v2', 'b')
  await plane.operations.enableService('s', 'me')
  await plane.operations.switchTo(ref('v1'), 'me')
  await plane.operations.distrust([ref('v1'), ref('gone'), ref('v1', 'nobody')])
  t.match(formOf(plane, 'v1'), { form: 'original', reason: /crashed/ })
  await plane.operations.compileModels()
  t.equal(maker.asked.length, 2)
  // Left behind by somebody who could not remove it.
  const stray = join(plane.home.compiled, keyOf('gone'))
  mkdirSync(stray)
  chmodSync(stray, 0o555)
  const cleaned = await plane.operations.cleanUnused('me')
  t.same([...cleaned.compiled].sort(), [keyOf('b'), keyOf('gone')].sort())
  t.same(names(plane), [keyOf('a')])
})
