/**
 * Goal: whatever a forge does, the client answers, in time, with a sentence that says why.
 * Method: real child processes that loop, abort, allocate, leave children behind or answer; one
 * small program per misbehaviour, since a model that misbehaves on purpose cannot do all of these.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { findProgram } from '../../../admin/bundle/child-limits.ts'
import { createForge, type ForgeOptions } from '../../../admin/bundle/forge-client.ts'
import { StderrTail } from '../../../admin/bundle/stderr-tail.ts'
import type { ForgeOutcome } from '../../../admin/contracts.ts'
import { nowMs } from '../../../core/base/clock.ts'
import { SILENT } from '../../../core/base/logger.ts'
import { LIMITS } from '../../../core/config/limits.ts'
import { NO_RUNTIMES } from '../../tools/runtimes.ts'
import { until } from '../../tools/waiting.ts'

t.setTimeout(240_000)

const GIB = 1024 ** 3
const PATH = process.env['PATH'] ?? ''
const PRLIMIT = findProgram('prlimit', PATH)
const SETPRIV = findProgram('setpriv', PATH)
const folder = mkdtempSync(join(tmpdir(), 'switchyard-forge-client-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

let programs = 0

const TESTING = `process.send({
  kind: 'phase', phase: 'testing', detail: 'endpoint predict', progress: null })`

interface Ran {
  readonly outcome: ForgeOutcome
  readonly phases: readonly string[]
  readonly ms: number
}

/** `stopMs`: the node stops this long after the first phase. */
interface RunOptions extends Partial<ForgeOptions> {
  readonly stopMs?: number
}

async function run(program: string, given: RunOptions = {}): Promise<Ran> {
  const { stopMs, ...over } = given
  programs += 1
  const entry = join(folder, `${programs}.mjs`)
  writeFileSync(entry, `process.once('message', (request) => {\n${program}\n})`)
  const forge = createForge({
    issuers: [],
    entry,
    memoryBytesMin: 4 * GIB,
    timeMs: 90_000,
    prlimit: PRLIMIT,
    setpriv: SETPRIV,
    env: { PATH, SWITCHYARD_ADMIN_KEY: 'must not be seen' },
    cores: cpus().length,
    runtimes: NO_RUNTIMES,
    logger: SILENT,
    ...over,
  })
  const phases: string[] = []
  const startMs = nowMs()
  const request = {
    archive: join(folder, 'bundle.zip'),
    directory: join(folder, 'out'),
    serviceId: 's',
    generationId: null,
    fileName: 'bundle.zip',
    diskBytesMax: Number.MAX_SAFE_INTEGER,
  }
  const outcome = await forge.run(request, 0, {
    onPhase(phase, detail) {
      phases.push(`${phase} ${detail}`)
      if (stopMs !== undefined) setTimeout(() => forge.close(), stopMs)
    },
    onNamed() {},
  })
  return { outcome, phases, ms: nowMs() - startMs }
}

function detailOf(ran: Ran, code: string): string {
  return ran.outcome.kind === 'refused' && ran.outcome.code === code
    ? ran.outcome.detail
    : JSON.stringify(ran.outcome)
}

const REFUSE = `process.send({ kind: 'refused', code: 'ERR_BUNDLE_INVALID', faults: [], detail: `

t.test('the answer of the child is the outcome, even when it dies of its end', async (t) => {
  const ran = await run(`${TESTING}\n${REFUSE}'no manifest' }, () => process.abort())`)
  t.equal(detailOf(ran, 'ERR_BUNDLE_INVALID'), 'no manifest')
  t.same(ran.phases, ['testing endpoint predict'])
})

t.test('a child that answered and does not end is ended', async (t) => {
  const ran = await run(`${REFUSE}'done' }, () => { for (;;); })`)
  t.equal(detailOf(ran, 'ERR_BUNDLE_INVALID'), 'done')
  t.ok(ran.ms < 30_000, `${ran.ms} ms`)
})

t.test('the child sees no secret and runs at a lower priority', async (t) => {
  const seen = `JSON.stringify({ env: Object.keys(process.env), nice: os.getPriority() })`
  const ran = await run(`import('node:os').then((os) => ${REFUSE}${seen} }))\n`)
  const { env, nice } = JSON.parse(detailOf(ran, 'ERR_BUNDLE_INVALID'))
  t.equal(nice, 10)
  t.ok(env.includes('PATH'))
  t.notMatch(env, ['SWITCHYARD_ADMIN_KEY'])
})

t.test('a child that loops is killed at its time, with all that it started', async (t) => {
  const pidFile = join(folder, 'grandchild')
  const ran = await run(
    `${TESTING}
    Promise.all([import('node:child_process'), import('node:fs')]).then(([{ spawn }, fs]) => {
      const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
      fs.writeFileSync(${JSON.stringify(pidFile)}, String(child.pid))
      setTimeout(() => { for (;;); }, 50)
    })`,
    { timeMs: 4_000 },
  )
  const detail = detailOf(ran, 'ERR_MODEL_LIMITS')
  t.match(detail, /did not finish within 4 s: ended while testing endpoint predict/)
  t.ok(ran.ms < 30_000, `${ran.ms} ms`)
  const pid = Number(readFileSync(pidFile, 'utf8'))
  // The signal went to the whole group, but the kernel ends each process in its own time.
  await until(() => !runs(pid))
})

t.test('time for much to unpack is not taken from its models', async (t) => {
  const said = (phase: string, totalBytes: number) =>
    `process.send({ kind: 'phase', phase: '${phase}', detail: '',
      progress: ${totalBytes === 0 ? null : `{ doneBytes: 0, totalBytes: ${totalBytes} }`} })`
  const after = (ms: number, words: string) => `setTimeout(() => { ${words} }, ${ms})`
  // Four seconds for the bytes beside those that every bundle has, and both again for the models.
  const busy = `${said('unpacking', 4 * LIMITS.forgeBytesPerS)}
    ${after(4_500, `${said('checking', 0)}; ${after(4_500, `${REFUSE}'in time' })`)}`)}`
  const ran = await run(busy, { timeMs: 4_000 })
  t.equal(detailOf(ran, 'ERR_BUNDLE_INVALID'), 'in time')
  const slow = `${said('checking', 0)}; setInterval(() => {}, 1_000)`
  const late = await run(slow, { timeMs: 500 })
  t.match(detailOf(late, 'ERR_MODEL_LIMITS'), /did not finish within 0\.5 s/)
})

/** A zombie waits for its parent and runs no more. */
function runs(pid: number): boolean {
  if (!existsSync(`/proc/${pid}/stat`)) return false
  return !/^\d+ \(.*\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
}

t.test('a child that aborts: signal, phase and last words, without paths', async (t) => {
  const words = `process.stderr.write('onnx: bad kernel in ' + request.directory + '/m.onnx\\n')`
  const ran = await run(
    `${TESTING}\n${words}\nsetTimeout(() => process.kill(process.pid, 'SIGABRT'), 50)`,
  )
  t.equal(
    detailOf(ran, 'ERR_MODEL_REFUSED'),
    'the process that tried the model aborted (SIGABRT) while testing endpoint predict; ' +
      'its last words: onnx: bad kernel in bundle/m.onnx',
  )
})

t.test('a child that throws: the error and not the stack', async (t) => {
  const ran = await run(`${TESTING}\nsetTimeout(() => { throw new TypeError('odd model') }, 20)`)
  t.match(detailOf(ran, 'ERR_MODEL_REFUSED'), /ended \(code 1\) while .*: TypeError: odd model$/)
})

t.test('a child that never came to the bundle is not the bundle’s fault', async (t) => {
  const gone = await run('process.exit(3)')
  t.match(detailOf(gone, 'ERR_INTERNAL'), /ended \(code 3\) before it began/)
  const absent = await run('', { entry: join(folder, 'absent.mjs') })
  t.match(detailOf(absent, 'ERR_INTERNAL'), /Cannot find module/)
  const noProgram = await run('', { prlimit: join(folder, 'no-such-program'), setpriv: null })
  t.match(detailOf(noProgram, 'ERR_INTERNAL'), /ENOENT/)
})

t.test('a child killed by the system', async (t) => {
  const ran = await run(`${TESTING}\nsetTimeout(() => process.kill(process.pid, 'SIGKILL'), 50)`)
  const why = /killed by the system.*while testing endpoint predict.*import it again$/
  t.match(detailOf(ran, 'ERR_MODEL_LIMITS'), why)
})

t.test('a child that runs when the node stops', async (t) => {
  const ran = await run(`${TESTING}\nsetInterval(() => {}, 1000)`, { stopMs: 10 })
  t.equal(detailOf(ran, 'ERR_STOPPING'), 'the import was given up')
})

t.test('a child that cannot be started', async (t) => {
  // An argument longer than the system takes is thrown at once, as want of memory is.
  const long = await run('', { prlimit: `/${'x'.repeat(4 * 1024 * 1024)}` })
  t.match(detailOf(long, 'ERR_INTERNAL'), /^no process can be started.+: spawn E/)
  const missing = await run('', { prlimit: join(folder, 'missing') })
  t.match(detailOf(missing, 'ERR_INTERNAL'), /ENOENT/)
})

const BOMB = `${TESTING}
  const kept = []
  setInterval(() => kept.push(Buffer.alloc(128 * 2 ** 20, 1)), 5)`

t.test('a child over its memory', { skip: PRLIMIT === null && 'no prlimit' }, async (t) => {
  const ran = await run(BOMB, { memoryBytesMin: 2 * GIB })
  t.match(
    detailOf(ran, 'ERR_MODEL_LIMITS'),
    /needs more than 2.0 GiB of memory: ended while testing/,
  )
})

t.test('a child over its memory where the system has no prlimit', async (t) => {
  // 2 GiB is the least limit, so the child says itself how much it holds only by holding it.
  const ran = await run(BOMB.replace(', 5)', ', 40)'), { prlimit: null, memoryBytesMin: 0 })
  t.match(detailOf(ran, 'ERR_MODEL_LIMITS'), /needs more than 2.0 GiB of memory/)
})

t.test('last words', async (t) => {
  const tail = new StderrTail(['/srv/data/staging/u1'])
  t.equal(tail.lastLine(), '')
  tail.add('cannot use /srv/data/staging/u1/model.onnx: \u001b[31mbad\u001b[0m node\n')
  tail.add('    at f (file:///opt/app/dist/x.js:1:2)\n\nNode.js v20.20.2\n')
  t.equal(tail.lastLine(), 'cannot use bundle/model.onnx: [31mbad [0m node')
  tail.add('Error: cannot open /home/me/secret/place.txt and /a/b\n')
  t.equal(tail.lastLine(), 'Error: cannot open place.txt and b')
  tail.add(`${'x'.repeat(20_000)}\n`)
  t.equal(tail.lastLine().length, 300)
})
