/**
 * Goal: whatever a compiling child does, its client answers with a reason, and says whether another
 * try may end otherwise. Method: real child processes, one small program per misbehaviour.
 */

import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { findProgram } from '../../../admin/bundle/child-limits.ts'
import { type CompilerOptions, createCompiler } from '../../../admin/bundle/compile-client.ts'
import { compileRequest } from '../../tools/compiling.ts'
import { NO_RUNTIMES } from '../../tools/runtimes.ts'

const GIB = 1024 ** 3
const PATH = process.env['PATH'] ?? ''
const folder = mkdtempSync(join(tmpdir(), 'switchyard-compile-client-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
writeFileSync(join(folder, 'model.onnx'), '')
const request = await compileRequest(folder, { directory: folder, model: 'model.onnx' })
const { settings: _, ...task } = request

let programs = 0

function compiler(program: string, given: Partial<CompilerOptions> = {}) {
  programs += 1
  const entry = join(folder, `${programs}.mjs`)
  writeFileSync(entry, `process.once('message', async (request) => {\n${program}\n})`)
  return createCompiler({
    entry,
    memoryBytesMin: 4 * GIB,
    timeMs: 20_000,
    prlimit: findProgram('prlimit', PATH),
    setpriv: findProgram('setpriv', PATH),
    env: { PATH, SWITCHYARD_ADMIN_KEY: 'must not be seen' },
    cores: cpus().length,
    runtimes: NO_RUNTIMES,
    ...given,
  })
}

const STEP = `process.send({ kind: 'step', step: 'comparing' })`
const later = 'await new Promise((resolve) => setTimeout(resolve, 200))'

t.test('an answer is handed on', async (t) => {
  const answer = { kind: 'original', reason: 'because', lasting: true }
  const program = `process.send(${JSON.stringify(answer)}, () => process.exit(0))`
  t.same(await compiler(program).compile({ ...task, modelBytes: 1 }), answer)
  const seen = `process.send({ kind: 'original', lasting: true,
    reason: [request.model, 'SWITCHYARD_ADMIN_KEY' in process.env].join() }, () => process.exit(0))`
  t.match(await compiler(seen).compile({ ...task, modelBytes: 1 }), { reason: 'model.onnx,false' })
})

t.test('a crash is for ever, once the model was reached', async (t) => {
  const crash = `process.kill(process.pid, 'SIGSEGV')`
  t.match(await compiler(`${STEP}; ${later}; ${crash}`).compile({ ...task, modelBytes: 1 }), {
    kind: 'original',
    reason: /SIGSEGV.* while comparing/,
    lasting: true,
  })
  t.match(await compiler(crash).compile({ ...task, modelBytes: 1 }), { lasting: false })
  t.match(await compiler('process.exit(7)').compile({ ...task, modelBytes: 1 }), {
    reason: /code 7/,
    lasting: false,
  })
})

t.test('time and memory have limits, and what was short may not be so again', async (t) => {
  const hang = compiler(`${STEP}; for (;;);`, { timeMs: 1_000 })
  t.match(await hang.compile({ ...task, modelBytes: 1 }), {
    reason: /did not end within 1 s: ended/,
    lasting: false,
  })
  const killed = compiler(`${STEP}; ${later}; process.kill(process.pid, 'SIGKILL')`)
  t.match(await killed.compile({ ...task, modelBytes: 1 }), { reason: /memory/, lasting: false })
})

t.test('files have a limit too', { skip: process.platform !== 'linux' }, async (t) => {
  const path = join(folder, 'large')
  const write = `const { writeFileSync } = await import('node:fs')
    let reason = 'written'
    try { writeFileSync(${JSON.stringify(path)}, Buffer.alloc(3e6)) } catch (e) { reason = e.code }
    process.send({ kind: 'original', reason, lasting: true }, () => process.exit(0))`
  const outcome = await compiler(write).compile({ ...task, bytesMax: 1e6, modelBytes: 1 })
  t.match(outcome, { reason: 'EFBIG' })
  t.equal(statSync(path).size, 1e6)
})

t.test('a node that stops does not wait, and none begins afterwards', async (t) => {
  const one = compiler('for (;;);')
  const outcome = one.compile({ ...task, modelBytes: 1 })
  one.close()
  t.match(await outcome, { reason: /stopped/, lasting: false })
  t.match(await one.compile({ ...task, modelBytes: 1 }), { reason: /stopped/ })
})

t.test('a program that is not there is no fault of the model', async (t) => {
  const options = { prlimit: null, setpriv: null, entry: join(folder, 'nowhere.mjs') }
  t.match(await compiler('', options).compile({ ...task, modelBytes: 1 }), { lasting: false })
})
