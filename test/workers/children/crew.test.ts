/**
 * Goal: a crew answers every call by its deadline, whatever the code in its children does, keeps
 * its places filled, gives up on children that do not start, and says so.
 * Method: a small Python program speaks frames and does on request what bad code does.
 */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Duplex, PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { nowMs } from '../../../core/base/clock.ts'
import { AppError } from '../../../core/base/errors.ts'
import type { RuntimeStatus } from '../../../core/children/spec.ts'
import { Crew, type CrewOptions } from '../../../workers/children/crew.ts'
import { FrameChannel } from '../../../workers/children/frames.ts'
import { localHost } from '../../../workers/children/local-host.ts'
import type { Dialect } from '../../../workers/children/member.ts'
import { Output } from '../../../workers/children/output.ts'
import { runtimes } from '../../tools/runtimes.ts'
import { quickest, until } from '../../tools/waiting.ts'

const HARNESS = `
import os, signal, socket, struct, sys, time
s = socket.socket(fileno=3); s.setblocking(True)
def send(b): s.sendall(struct.pack('>I', len(b)) + b)
def exactly(n):
    b = b''
    while len(b) < n:
        more = s.recv(n - len(b))
        if not more: os._exit(0)
        b += more
    return b
class Late(BaseException): pass
def late(*_): raise Late()
def never(): pass
exec(open('start.py').read())
send(b'ready')
while True:
    n, = struct.unpack('>I', exactly(4))
    code = exactly(n).decode()
    try:
        signal.signal(signal.SIGUSR1, late)
        answer = eval(code) if not code.startswith('!') else exec(code[1:])
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    except Late: answer = 'LATE'
    except Exception as e: answer = type(e).__name__
    send(str(answer).encode())
`

interface Logged {
  readonly level: string
  readonly fields: Readonly<Record<string, unknown>>
  readonly text: string
}

interface Setting {
  readonly options: CrewOptions<string, string>
  readonly logged: Logged[]
  readonly statuses: RuntimeStatus[]
  /** What the children run first. */
  begin(code: string): void
  start(given?: Partial<CrewOptions<string, string>>): Promise<Crew<string, string>>
}

async function setting(t: Test): Promise<Setting> {
  const settings = runtimes(t)
  const directory = join(settings.runDirectory, '..')
  const begin = (code: string): void => writeFileSync(join(directory, 'start.py'), code)
  begin('')
  const logged: Logged[] = []
  const log: CrewOptions<string, string>['log'] = (level, fields, text) => {
    logged.push({ level, fields, text })
  }
  const host = await localHost(settings, log)
  t.teardown(() => host.close())
  const spec = {
    name: 'test',
    program: '/usr/bin/python3',
    args: ['-u', '-I', '-c', HARNESS],
    directory,
    env: {},
    frames: true,
    limits: settings.childLimits,
  }
  const dialect: Dialect<string, string> = {
    interruptSignal: 'SIGUSR1',
    prepare: () => ({ spec, open: (child) => openSession(child.frames) }),
  }
  const statuses: RuntimeStatus[] = []
  const options: CrewOptions<string, string> = {
    subject: 'endpoint test',
    size: 1,
    spares: 1,
    host,
    dialect,
    log,
    report: (status) => statuses.push(status),
  }
  const start: Setting['start'] = async (given = {}) => {
    const crew = await Crew.start({ ...options, ...given })
    t.teardown(() => crew.release())
    return crew
  }
  return { options, logged, statuses, begin, start }
}

async function openSession(frames: Duplex | null) {
  if (frames === null) throw new Error('no frames')
  const channel = new FrameChannel(frames, 1024 * 1024)
  const hello = (await channel.next()).toString()
  if (hello !== 'ready') throw new AppError('ERR_CODE_REFUSED', hello)
  return {
    program: 'Python',
    ended: channel.ended,
    call: async (code: string) => {
      const reply = (await channel.ask(code)).toString()
      if (reply === 'LATE') throw new AppError('ERR_DEADLINE')
      return reply
    },
  }
}

/** No deadline, beside what a busy machine is late by. */
const SOON = { deadlineMs: 60_000 }

async function codeOf(run: Promise<unknown>): Promise<string> {
  return run.then(
    (value) => `answered ${String(value)}`,
    (error: unknown) => (error instanceof AppError ? error.code : String(error)),
  )
}

t.test('calls, large answers, and what a call costs', async (t) => {
  const { start } = await setting(t)
  const crew = await start({ size: 2, spares: 0 })
  t.equal(await crew.run('1 + 1', SOON), '2')
  t.equal(crew.program, 'Python')
  t.equal((await crew.run('"x" * 900000', SOON)).length, 900_000)
  t.equal(await crew.run(`len('${'é'.repeat(200_000)}')`, SOON), '200000')
  const both = await Promise.all(
    [1, 2, 3, 4, 5].map((i) => crew.run(`time.sleep(0.05) or ${i}`, SOON)),
  )
  t.strictSame(both, ['1', '2', '3', '4', '5'], 'those that wait are served in order')
  const times: number[] = []
  for (let i = 0; i < 2_000; i++) {
    const before = nowMs()
    await crew.run('1', SOON)
    times.push(nowMs() - before)
  }
  times.sort((a, b) => a - b)
  t.comment(`a call: ${((times[1_000] ?? 0) * 1_000).toFixed(0)} us in the middle`)
})

t.test('deadlines: asked to end, then killed, and the spare is there', async (t) => {
  const { start, begin } = await setting(t)
  const marks = t.testdir({})
  begin(`open('${marks}/%d' % os.getpid(), 'w')`)
  const crew = await start()
  let pid = ''
  let next = ''
  // On a busy machine a child may be too late to end its call, and be killed.
  for (let tries = 0; tries < 10 && (pid === '' || next !== pid); tries++) {
    pid = await crew.run('os.getpid()', SOON)
    t.equal(await codeOf(crew.run('time.sleep(30)', { deadlineMs: 50 })), 'ERR_DEADLINE')
    next = await crew.run('os.getpid()', SOON)
  }
  t.equal(next, pid, 'the child is kept')
  const alive = (one: string): boolean => existsSync(`/proc/${one}/exe`)
  const spares = (): string[] => readdirSync(marks).filter((one) => one !== pid && alive(one))
  await until(() => spares().length > 0)
  const ready = spares()
  const deaf = '!signal.signal(signal.SIGUSR1, signal.SIG_IGN); time.sleep(30)'
  let before = nowMs()
  t.equal(await codeOf(crew.run(deaf, { deadlineMs: 50 })), 'ERR_DEADLINE')
  const ms = nowMs() - before
  t.ok(ms > 290 && ms < 20_000, `killed after ${Math.round(ms)} ms`)
  before = nowMs()
  t.ok(ready.includes(await crew.run('os.getpid()', SOON)), 'one that was there before')
  t.comment(`the spare answered after ${(nowMs() - before).toFixed(1)} ms`)
  const long = crew.run('time.sleep(0.3)', SOON)
  t.equal(await codeOf(crew.run('1', { deadlineMs: 50 })), 'ERR_DEADLINE', 'waiting counts too')
  await long
})

t.test('children that die, lie or answer twice cost their own call', async (t) => {
  const { start, logged } = await setting(t)
  const crew = await start({ size: 2 })
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['os._exit(0)', 'ERR_CHILD_LOST', /ended: code 0/],
    ['os._exit(1)', 'ERR_CHILD_LOST', /ended: code 1/],
    ['os.kill(os.getpid(), 9)', 'ERR_CHILD_LOST', /ended: SIGKILL/],
    ['os.kill(os.getpid(), 11)', 'ERR_CHILD_LOST', /ended: SIGSEGV/],
    ['s.close()', 'ERR_CHILD_LOST', /ended/],
    ['s.sendall(os.urandom(8) and b"\\xff" * 9)', 'ERR_ANSWER_INVALID', /more than 1048576 bytes/],
    ['"x" * 2000000', 'ERR_ANSWER_INVALID', /more than/],
    ['s.sendall(b"\\0\\0\\0\\x09half") or os._exit(3)', 'ERR_CHILD_LOST', /code 3/],
  ]
  for (const [code, expected, detail] of cases) {
    const before = nowMs()
    const error = await crew.run(code, SOON).catch((thrown: unknown) => thrown)
    if (!(error instanceof AppError)) throw new Error(`${code} answered`)
    t.equal(error.code, expected, `${code} after ${Math.round(nowMs() - before)} ms`)
    t.match(error.detail, detail)
    t.equal(await crew.run('7', SOON), '7', 'the next call is answered')
  }
  const known = logged.length
  t.equal(await crew.run('send(b"first")', SOON), 'first')
  await until(() => logged.slice(known).some((one) => /closed|ended/.test(one.text)))
  for (let i = 0; i < 5; i++) t.equal(await crew.run(String(i), SOON), String(i), 'never mixed up')
})

t.test('a child that is killed while it is idle is replaced before a call meets it', async (t) => {
  const { start } = await setting(t)
  const crew = await start()
  await sleep(300)
  const pid = Number(await crew.run('os.getpid()', SOON))
  process.kill(pid, 'SIGKILL')
  await until(() => !existsSync(`/proc/${pid}/exe`))
  const before = nowMs()
  await sleep(30)
  t.not(await crew.run('os.getpid()', SOON), String(pid))
  t.comment(`answered ${(nowMs() - before).toFixed(1)} ms after the kill`)
})

t.test('starts that fail are told with their last lines', async (t) => {
  const { start, begin, options } = await setting(t)
  begin('import nonsense_module')
  await t.rejects(start({ size: 2 }), { code: 'ERR_CODE_REFUSED', detail: /No module named 'nons/ })
  begin('sys.stderr.write("last words"); os._exit(4)')
  await t.rejects(start(), { code: 'ERR_CODE_REFUSED', detail: /code 4\nlast words/ })
  begin('send(b"the code has no function")')
  await t.rejects(start(), { code: 'ERR_CODE_REFUSED', detail: 'the code has no function' })
  begin('time.sleep(30)')
  const before = nowMs()
  await t.rejects(start({ startMs: 300 }), {
    code: 'ERR_CODE_REFUSED',
    detail: /was not ready after 300 ms/,
  })
  t.ok(nowMs() - before < 20_000)
  const missing = { ...(await options.dialect.prepare()) }
  const spec = { ...missing.spec, program: '/bin/no-such-python3' }
  const dialect = { ...options.dialect, prepare: () => ({ ...missing, spec }) }
  await t.rejects(start({ dialect }), { code: 'ERR_LOAD_FAILED', detail: /no-such-python3/ })
})

t.test('down after five failed starts, and up again by itself', async (t) => {
  const { start, begin, statuses, logged } = await setting(t)
  const crew = await start({ spares: 0 })
  t.strictSame(statuses.at(-1), {
    subject: 'endpoint test',
    up: true,
    detail: 'Python',
    busy: 0,
    size: 1,
  })
  begin('print("broken"); os._exit(5)')
  t.equal(await codeOf(crew.run('os._exit(1)', SOON)), 'ERR_CHILD_LOST')
  const before = nowMs()
  t.equal(await codeOf(crew.run('1', SOON)), 'ERR_CHILD_LOST')
  t.comment(`waited ${Math.round(nowMs() - before)} ms`)
  const detail = /no process can be started: .*code 5\nbroken/s
  const refused = () => t.rejects(crew.run('1', SOON), { code: 'ERR_CHILD_LOST', detail })
  t.ok((await quickest(10, refused)) < 10, 'refused at once')
  t.match(statuses.at(-1), { up: false, detail: /code 5/ })
  const failed = logged.filter((one) => /did not start/.test(one.text)).length
  t.ok(failed >= 5, `${failed} starts, each slower`)
  begin('')
  await until(() => crew.status().up)
  t.equal(await crew.run('8', SOON), '8')
  t.match(statuses.at(-1), { up: true, detail: 'Python' })
})

t.test('release ends all at once, calls and starts included', async (t) => {
  const { start, begin } = await setting(t)
  const crew = await start({ size: 3 })
  begin('time.sleep(30)')
  const pids = await Promise.all([1, 2, 3].map(() => crew.run('os.getpid()', SOON)))
  const running = crew.run('time.sleep(30)', SOON)
  const waiting = [1, 2, 3].map(() => crew.run('time.sleep(30)', SOON))
  const codes = Promise.all([running, ...waiting].map(codeOf))
  await sleep(50)
  const before = nowMs()
  await crew.release()
  t.ok(nowMs() - before < 20_000, `released after ${Math.round(nowMs() - before)} ms`)
  t.strictSame(new Set(await codes), new Set(['ERR_CHILD_LOST']))
  for (const pid of pids) t.notOk(existsSync(`/proc/${pid}/exe`))
  t.equal(await codeOf(crew.run('1', SOON)), 'ERR_CHILD_LOST')
})

t.test('100 MB of prints block nobody and fill no memory', async (t) => {
  const { start, logged } = await setting(t)
  const crew = await start({ spares: 0 })
  const before = nowMs()
  const memory = process.memoryUsage.rss()
  const line = `${'y'.repeat(99)}\\n`
  await crew.run(`[sys.stderr.write("${line}" * 1000) for _ in range(1000)] and 1`, SOON)
  const ms = nowMs() - before
  t.ok(ms < 40_000, `written in ${Math.round(ms)} ms`)
  const grown = (process.memoryUsage.rss() - memory) / 2 ** 20
  t.ok(grown < 100, `${Math.round(grown)} MiB more`)
  await sleep(1_100)
  const seconds = Math.ceil((nowMs() - before) / 1_000)
  const lines = logged.filter((one) => one.level === 'info')
  t.ok(lines.length >= 100 && lines.length <= 200 * (seconds + 1), `${lines.length} lines`)
  const dropped = logged.filter((one) => /dropped/.test(one.text))
  const bytes = dropped.reduce((sum, one) => sum + Number(one.fields['bytes']), 0)
  t.ok(bytes > 99 * 10 ** 6, `${bytes} bytes are told as dropped`)
})

t.test('lines: cut, decoded, and the last ones kept', async (t) => {
  const lines: string[] = []
  const stream = new PassThrough()
  const output = new Output({
    stream,
    child: 'a',
    log: (_level, _fields, text) => lines.push(text),
  })
  const euro = Buffer.from('€\n')
  stream.write(euro.subarray(0, 2))
  stream.write(euro.subarray(2))
  stream.write(Buffer.from([0xff, 0xfe, 10, 13, 10]))
  stream.write(`${'z'.repeat(10_000)}\nnext`)
  stream.end()
  await output.ended
  t.strictSame(
    lines.map((one) => (one.length > 50 ? `${one.length} ${one.slice(-5)}` : one)),
    ['€', '\ufffd\ufffd', '4100 z ...', 'next', 'output beyond the limits was dropped'],
  )
  t.equal(output.tail().at(-1), 'next')
})

t.test('half a character before a gap spoils no line behind it', async (t) => {
  const lines: string[] = []
  const stream = new PassThrough()
  const output = new Output({
    stream,
    child: 'a',
    log: (_level, _fields, text) => lines.push(text),
  })
  const all = Buffer.alloc(64 * 4_097, 'z')
  for (let line = 1; line < 64; line++) all[line * 4_097 - 1] = 10
  const whole = all.subarray(0, -1)
  // As many bytes as a second may have, and the last two begin a character.
  whole.set([0xe2, 0x82], whole.length - 2)
  stream.write(whole)
  await sleep(50)
  stream.write('\u00e9 is dropped\n')
  await sleep(1_100)
  stream.end('next\n')
  await output.ended
  t.equal(lines.length, 65)
  t.equal(lines.at(-1), 'next')
})

t.test('frames in every split', async (t) => {
  const stream = new PassThrough()
  const channel = new FrameChannel(stream, 100)
  const bytes = Buffer.from([0, 0, 0, 3, 97, 98, 99])
  for (let cut = 1; cut < bytes.length; cut++) {
    const frame = channel.next()
    stream.write(bytes.subarray(0, cut))
    await sleep(1)
    stream.write(bytes.subarray(cut))
    t.equal((await frame).toString(), 'abc')
  }
  const empty = channel.next()
  stream.write(Buffer.alloc(4))
  t.equal((await empty).length, 0)
  stream.write(bytes)
  t.equal((await channel.ended).code, 'ERR_ANSWER_INVALID', 'nobody asked')
  await t.rejects(channel.ask('x'), { code: 'ERR_ANSWER_INVALID' })
})

t.test('no file is left of all this', async (t) => {
  const { start, options } = await setting(t)
  const crew = await start()
  const folder = (await options.dialect.prepare()).spec.directory
  await crew.release()
  await options.host.close()
  t.strictSame(readdirSync(join(folder, 'run')), [])
  t.match(readFileSync(join(folder, 'start.py'), 'utf8'), '')
})
