/**
 * Goal: children started through a host speak over their own descriptors, are held within limits,
 * and leave nothing behind, however they behave.
 * Method: real processes (python3, sh) in a temporary folder, seen from outside through /proc.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { MessageChannel } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { nowMs } from '../../../core/base/clock.ts'
import { SILENT } from '../../../core/base/logger.ts'
import { Spawner } from '../../../core/children/spawner.ts'
import type { ChildSpec } from '../../../core/children/spec.ts'
import type { RuntimeSettings } from '../../../core/config/runtimes.ts'
import type { ChildHost, RunningChild } from '../../../workers/children/child-host.ts'
import { localHost } from '../../../workers/children/local-host.ts'
import { portHost } from '../../../workers/children/port-host.ts'
import { runtimes } from '../../tools/runtimes.ts'
import { until } from '../../tools/waiting.ts'

const PYTHON = '/usr/bin/python3'
const MIB = 1024 * 1024

interface Place {
  readonly host: ChildHost
  readonly settings: RuntimeSettings
  readonly directory: string
  spec(program: string, args: readonly string[], more?: Partial<ChildSpec>): ChildSpec
  python(code: string, more?: Partial<ChildSpec>): Promise<RunningChild>
}

async function place(t: Test, given: Partial<RuntimeSettings> = {}): Promise<Place> {
  const settings = runtimes(t, given)
  const directory = join(settings.runDirectory, '../generation')
  mkdirSync(join(directory, 'data'), { recursive: true })
  writeFileSync(join(directory, 'data/table.csv'), 'a,b\n')
  writeFileSync(join(directory, 'manifest.json'), '{}')
  const host = await localHost(settings, () => {})
  t.teardown(() => host.close())
  const spec: Place['spec'] = (program, args, more = {}) => ({
    name: 'test',
    program,
    args,
    directory,
    env: {},
    frames: false,
    limits: settings.childLimits,
    ...more,
  })
  const python: Place['python'] = (code, more) =>
    host.start(spec(PYTHON, ['-u', '-I', '-c', code], more))
  return { host, settings, directory, spec, python }
}

async function textOf(stream: Readable): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts).toString()
}

/** Living processes with this text in their arguments. */
function alive(text: string): readonly number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text)
      } catch {
        return false
      }
    })
}

let lastNonce = 0
const nonce = (): string => `switchyard-nonce-${process.pid}-${++lastNonce}`

t.test('frames, output, environment and folder of a child', async (t) => {
  const { python, settings, directory } = await place(t, {
    environment: { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8' },
  })
  const child = await python(
    `import json, os, socket, sys
s = socket.socket(fileno=3)
s.setblocking(True)
asked = s.recv(100)
open('new.txt', 'w').write('x')
print('to stdout'); print('to stderr', file=sys.stderr)
s.sendall(json.dumps({'asked': asked.decode(), 'env': dict(os.environ), 'cwd': os.getcwd(),
  'files': sorted(os.listdir('.')), 'read': open('data/table.csv').read(),
  'fds': sorted(os.listdir('/proc/self/fd'))}).encode())`,
    { frames: true, env: { MY_VARIABLE: 'set', OMP_NUM_THREADS: '3' } },
  )
  const { frames } = child
  if (frames === null) throw new Error('no frames')
  frames.write('hello')
  const [answer, output] = await Promise.all([textOf(frames), textOf(child.output)])
  t.equal(await child.exited, 'code 0')
  t.equal(output, 'to stdout\nto stderr\n')
  const said = JSON.parse(answer)
  t.equal(said.asked, 'hello')
  const root = join(said.cwd, '..')
  t.strictSame(said.env, {
    PATH: '/usr/bin:/bin',
    LANG: 'C.UTF-8',
    OMP_NUM_THREADS: '3',
    OPENBLAS_NUM_THREADS: '1',
    MKL_NUM_THREADS: '1',
    NUMEXPR_NUM_THREADS: '1',
    VECLIB_MAXIMUM_THREADS: '1',
    HOME: join(root, 'home'),
    TMPDIR: join(root, 'tmp'),
    MY_VARIABLE: 'set',
    SWITCHYARD_CHILD: root,
  })
  t.strictSame(said.files, ['data', 'manifest.json', 'new.txt'])
  t.equal(said.read, 'a,b\n')
  t.ok(root.startsWith(settings.runDirectory))
  await until(() => !existsSync(root))
  t.notOk(existsSync(root), 'the folder is removed')
  t.strictSame(readdirSync(directory).sort(), ['data', 'manifest.json'], 'the bundle is as it was')
})

t.test('how it ended, and why it could not start', async (t) => {
  const { host, spec, settings } = await place(t)
  const sh = (line: string) => host.start(spec('/bin/sh', ['-c', line]))
  t.equal(await (await sh('exit 0')).exited, 'code 0')
  t.equal(await (await sh('exit 1')).exited, 'code 1')
  t.equal(await (await sh('kill -SEGV $$')).exited, 'SIGSEGV')
  const missing = join(settings.runDirectory, 'missing')
  await t.rejects(host.start(spec(missing, [])), { message: /ENOENT.*missing/ })
  await t.rejects(host.start(spec('/bin/sh', [], { directory: missing })), { message: /ENOENT/ })
  await t.rejects(host.start(spec('/bin/sh', ['x'.repeat(3 * MIB)])), { message: /E2BIG/ })
  await t.rejects(host.start(spec('/bin/sh', ['a\0b'])), { message: /null bytes/ })
  const left = (): boolean => readdirSync(settings.runDirectory).some((name) => !/sock$/.test(name))
  await until(() => !left())
  t.notOk(left(), 'no folder is left')
})

t.test('no process survives a kill, whatever it did', async (t) => {
  const { python } = await place(t)
  const mark = nonce()
  const child = await python(
    `import os, signal, subprocess, sys, time
for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(s, signal.SIG_IGN)
idle = [sys.executable, '-I', '-c', 'import time; time.sleep(60) # ${mark}']
subprocess.Popen(idle)
subprocess.Popen(idle, start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        subprocess.Popen(idle)
        while True: pass
    os._exit(0)
print('ready')
while True: pass
# ${mark}`,
  )
  await new Promise((resolve) => child.output.once('data', resolve))
  await until(() => alive(mark).length >= 5)
  t.ok(alive(mark).length >= 5, `${alive(mark).length} processes run`)
  child.interrupt('SIGUSR1')
  const start = nowMs()
  child.kill()
  t.equal(await child.exited, 'SIGKILL')
  t.comment(`exited after ${(nowMs() - start).toFixed(1)} ms`)
  await until(() => alive(mark).length === 0)
  t.comment(`no survivor after ${(nowMs() - start).toFixed(1)} ms`)
})

t.test('what a child leaves that ended by itself goes too', async (t) => {
  const { python } = await place(t)
  const mark = nonce()
  const child = await python(
    `import subprocess, sys
for own in (True, False):
    subprocess.Popen([sys.executable, '-I', '-c', 'import time; time.sleep(60) # ${mark}'],
      start_new_session=own)`,
  )
  t.equal(await child.exited, 'code 0')
  await until(() => alive(mark).length === 0)
  t.equal(alive(mark).length, 0)
})

t.test('memory, files and processes have limits', async (t) => {
  const { python, settings } = await place(t)
  const big = await python('x = bytearray(20 * 2**30)')
  t.match(await textOf(big.output), /MemoryError/)
  t.equal(await big.exited, 'code 1')
  const limits = { ...settings.childLimits, fileBytesMax: 4 * MIB }
  const full = await python(
    `import os
try:
    with open('big', 'wb', 0) as f:
        for _ in range(64): f.write(b'x' * 2**20)
except OSError as e: print(e.errno, os.path.getsize('big'))`,
    { limits },
  )
  t.equal(await textOf(full.output), `27 ${4 * MIB}\n`, 'EFBIG')
})

// Of everybody but root the kernel counts the processes, and starting more just fails.
const isRoot = process.getuid?.() === 0

for (const detached of [false, true]) {
  const name = detached ? 'in sessions of their own' : 'in its group'
  t.test(`more processes than allowed, ${name}`, async (t) => {
    const { python, settings } = await place(t)
    const seconds = `61.${process.pid}${Number(detached)}`
    const limits = { ...settings.childLimits, processesMax: 20 }
    const child = await python(
      `import subprocess, time
for _ in range(300):
    try: subprocess.Popen(['/bin/sleep', '${seconds}'],
           start_new_session=${detached ? 'True' : 'False'})
    except OSError: pass
print('done')
time.sleep(30)`,
      { limits },
    )
    const start = nowMs()
    if (isRoot) t.equal(await child.exited, 'SIGKILL: more than 20 processes')
    else {
      await new Promise((resolve) => child.output.once('data', resolve))
      t.ok(alive(seconds).length <= 40, `${alive(seconds).length} were started`)
      child.kill()
    }
    t.comment(`stopped after ${Math.round(nowMs() - start)} ms`)
    await until(() => alive(seconds).length === 0)
    t.equal(alive(seconds).length, 0)
  })
}

t.test('strangers at the socket are dropped', async (t) => {
  const { host, settings, python } = await place(t)
  const name = readdirSync(settings.runDirectory).find((one) => one.endsWith('.sock'))
  const path = join(settings.runDirectory, name ?? '')
  t.equal(statSync(path).mode & 0o777, 0o600)
  for (const head of ['nonsense 1 frames\n', `${'x'.repeat(500)}`, '\n', 'a b c d\n\n']) {
    const socket = connect(path)
    socket.on('error', () => {})
    socket.write(head)
    await new Promise((resolve) => socket.once('close', resolve))
    t.pass(`dropped: ${head.slice(0, 20).trim()}`)
  }
  const silent = connect(path)
  silent.on('error', () => {})
  t.equal(await (await python('pass')).exited, 'code 0', 'others are served meanwhile')
  await host.close()
  t.notOk(existsSync(path), 'the socket is removed')
  silent.destroy()
  await t.rejects(python('pass'))
})

t.test('through a port: start, kill, and the end of the thread', async (t) => {
  const settings = runtimes(t)
  const spawner = new Spawner({ settings, logger: SILENT })
  const { port1, port2 } = new MessageChannel()
  const detach = spawner.attach(port1)
  const host = await portHost(port2, settings)
  const mark = nonce()
  const spec: ChildSpec = {
    name: 'test',
    program: PYTHON,
    args: ['-I', '-c', `import time; time.sleep(60) # ${mark}`],
    directory: settings.runDirectory,
    env: {},
    frames: true,
    limits: settings.childLimits,
  }
  const [first, second] = await Promise.all([host.start(spec), host.start(spec), host.start(spec)])
  first?.kill()
  t.equal(await first?.exited, 'SIGKILL')
  second?.interrupt('SIGINT')
  // Python that has only begun to start ends with a code.
  t.match(await second?.exited, /^(SIGINT|code 1)$/)
  // While a program takes the place of another it has no arguments for a moment.
  await until(() => alive(mark).length === 1)
  t.equal(alive(mark).length, 1)
  port2.close()
  await until(() => alive(mark).length === 0)
  t.equal(alive(mark).length, 0, 'the last child went with the port')
  detach()
  await spawner.close()
  await host.close()
})
