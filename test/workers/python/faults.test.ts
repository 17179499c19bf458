/**
 * Goal: code that hangs, dies, writes where it must not, eats memory or cannot be loaded costs its
 * own call and nothing else; nothing of it survives.
 * Method: hostile functions in real children, seen from outside through /proc.
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { nowMs } from '../../../core/base/clock.ts'
import {
  functionPlan,
  predictionPlan,
  pythonPlace,
  type Told,
  whyNoPython,
} from '../../tools/python-endpoints.ts'
import { NO_RUNTIMES } from '../../tools/runtimes.ts'
import { until } from '../../tools/waiting.ts'

const skip = whyNoPython()
const MIB = 1024 * 1024

const CODE = `
import os, signal, socket, struct, subprocess, sys, threading, time
state = {"calls": 0}
def frame(header, body=b""):
    h = header.encode(); return struct.pack(">II", 4 + len(h) + len(body), len(h)) + h + body
def f(kind, mark=""):
    state["calls"] += 1
    if kind == "ok": return [os.getpid(), state["calls"]]
    if kind == "sleep": time.sleep(30)
    if kind == "spin":
        while True: pass
    if kind == "eats":
        while True:
            try: time.sleep(30)
            except Exception: pass
    if kind == "stubborn":
        while True:
            try: time.sleep(30)
            except BaseException: pass
    if kind == "forks":
        for own in (True, False):
            idle = [sys.executable, "-c", "import time; time.sleep(60) # " + mark]
            subprocess.Popen(idle, start_new_session=own)
        if os.fork() == 0:
            os.setsid()
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60) # " + mark])
            while True: pass
        for _ in range(4): threading.Thread(target=time.sleep, args=(60,)).start()
        for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1): signal.signal(s, signal.SIG_IGN)
        while True: pass
    if kind == "fork and return":
        return os.fork() > 0
    if kind.startswith("exit"): os._exit(int(kind[4:]))
    if kind == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if kind == "segv": os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "noise": os.write(3, os.urandom(4096)); return 1
    if kind == "partial": os.write(3, b"\\x00\\x00\\x10\\x00{"); os._exit(0)
    if kind == "huge": os.write(3, struct.pack(">I", 1 << 30)); time.sleep(5)
    if kind == "two": os.write(3, frame('{"id":%d}' % (state["calls"] + 1), b"1")); return 2
    if kind == "wrong id": os.write(3, frame('{"id":999}', b"1")); time.sleep(5)
    if kind == "closes": os.close(3); return 1
    if kind == "prints":
        for _ in range(mark and int(mark)): sys.stdout.write("x" * 1023 + "\\n")
        return 1
    if kind == "stderr":
        for _ in range(100): os.write(2, b"y" * (1 << 20))
        return 1
    if kind == "no streams":
        sys.stdout = sys.stderr = None; os.close(1); os.close(2); raise ValueError("silent")
    if kind == "handler":
        signal.signal(signal.SIGUSR1, signal.SIG_IGN); time.sleep(30)
    if kind == "memory":
        held = []
        while True: held.append(bytearray(1 << 28))
    if kind == "disk":
        with open("big", "wb", 0) as out:
            while True: out.write(b"x" * (1 << 20))
    if kind == "environment": return [dict(os.environ), sys.argv, open("/proc/self/cmdline").read()]
async def coroutine(kind):
    import asyncio
    await asyncio.sleep(30) if kind == "sleep" else None
    while kind == "spin": pass
    return state["calls"]
`
const FILES = { 'code.py': CODE }

/** Processes with this text in their arguments. */
function alive(text: string): number {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text)
    } catch {
      return false
    }
  }).length
}

async function noneLeft(t: Test, text: string): Promise<void> {
  const start = nowMs()
  await until(() => alive(text) === 0)
  t.comment(`no survivor after ${Math.round(nowMs() - start)} ms`)
}

function pidOf(told: Told): unknown {
  const response = told.answer?.['response']
  return Array.isArray(response) ? response[0] : told
}

t.test('a deadline ends the call and keeps the child where it can', { skip }, async (t) => {
  const { open } = await pythonPlace(t, FILES)
  const endpoint = await open(functionPlan({}, { timeoutMs: 1_000 }))
  const ask = async (kind: string): Promise<readonly [Told, number]> => {
    const start = nowMs()
    return [await endpoint.ask({ kind }), nowMs() - start]
  }
  for (const kind of ['sleep', 'spin', 'eats']) {
    let [pid, next]: unknown[] = [null, undefined]
    // On a busy machine a child may be too late to end its call, and be killed.
    for (let tries = 0; tries < 10 && next !== pid; tries++) {
      pid = pidOf((await ask('ok'))[0])
      const [told, ms] = await ask(kind)
      t.match(told, { code: 'ERR_DEADLINE' }, kind)
      t.ok(ms > 990, `${kind}: after ${Math.round(ms)} ms`)
      next = pidOf((await ask('ok'))[0])
    }
    t.equal(next, pid, 'the same child answers the next call')
  }
  for (const kind of ['stubborn', 'handler']) {
    const before = pidOf((await ask('ok'))[0])
    const [told, ms] = await ask(kind)
    t.match(told, { code: 'ERR_DEADLINE' }, kind)
    t.ok(ms > 1_200 && ms < 20_000, `${kind}: killed after ${Math.round(ms)} ms`)
    t.not(pidOf((await ask('ok'))[0]), before, 'another child answers the next call')
  }
  t.match(await endpoint.batch([{ body: { kind: 'ok' }, waitUs: 1_200_000 }]), [
    { code: 'ERR_DEADLINE' },
  ])
  const coroutine = await open(functionPlan({ name: 'coroutine' }, { timeoutMs: 1_000 }))
  for (const kind of ['sleep', 'spin']) {
    t.match(await coroutine.ask({ kind }), { code: 'ERR_DEADLINE' }, `async ${kind}`)
    t.match(await coroutine.ask({ kind: 'ok' }), { status: 'answer' }, 'and the loop goes on')
  }
})

t.test('nothing survives that a call has started', { skip }, async (t) => {
  const { open } = await pythonPlace(t, FILES)
  const endpoint = await open(functionPlan({}, { timeoutMs: 3_000 }))
  const mark = `switchyard-python-${process.pid}`
  const call = endpoint.ask({ kind: 'forks', mark })
  await until(() => alive(mark) >= 3)
  t.match(await call, { code: 'ERR_DEADLINE' })
  await noneLeft(t, mark)
  t.match(await endpoint.ask({ kind: 'ok' }), { status: 'answer' })
  t.match(await endpoint.response({ kind: 'fork and return' }), true, 'one answer, not two')
  t.match(await endpoint.ask({ kind: 'ok' }), { status: 'answer' })
})

t.test('children that die or break the protocol', { skip }, async (t) => {
  const { open, log } = await pythonPlace(t, FILES)
  const endpoint = await open(functionPlan({}, { timeoutMs: 20_000 }))
  const other = await open(functionPlan({}, { id: 'other' }))
  const pid = pidOf(await other.ask({ kind: 'ok' }))
  for (const [kind, code, detail] of [
    ['exit0', 'ERR_CHILD_LOST', /ended: code 0$/],
    ['exit1', 'ERR_CHILD_LOST', /ended: code 1$/],
    ['kill', 'ERR_CHILD_LOST', /ended: SIGKILL$/],
    ['segv', 'ERR_CHILD_LOST', /ended: SIGSEGV$/],
    ['noise', /ERR_ANSWER_INVALID|ERR_CHILD_LOST/, /./],
    ['partial', 'ERR_CHILD_LOST', /code 0/],
    ['huge', 'ERR_ANSWER_INVALID', /more than \d+ bytes/],
    ['wrong id', 'ERR_ANSWER_INVALID', /another call/],
    ['closes', /ERR_CHILD_LOST/, /./],
  ] as const) {
    const start = nowMs()
    t.match(await endpoint.ask({ kind }), { code, detail }, kind)
    const next = await endpoint.ask({ kind: 'ok' })
    t.equal(next.status, 'answer', `${kind}: the next call is answered`)
    t.comment(`${kind}: ${Math.round(nowMs() - start)} ms, next call included`)
  }
  await endpoint.ask({ kind: 'two' })
  const next = await endpoint.ask({ kind: 'ok' })
  // The code has forged the first; the second must not become the answer of somebody else.
  t.ok(next.code === 'ERR_ANSWER_INVALID' || pidOf(next) !== next, 'two answers')
  t.match(await endpoint.ask({ kind: 'ok' }), { status: 'answer' })
  t.equal(pidOf(await other.ask({ kind: 'ok' })), pid, 'other endpoints have kept their children')
  t.ok(log.some((line) => line.includes('SIGSEGV')))
})

t.test('output, however much', { skip }, async (t) => {
  const { open, log } = await pythonPlace(t, FILES)
  const endpoint = await open(functionPlan())
  const pid = pidOf(await endpoint.ask({ kind: 'ok' }))
  const start = nowMs()
  t.equal(await endpoint.response({ kind: 'stderr' }), 1, '100 MB')
  t.equal(await endpoint.response({ kind: 'prints', mark: '20000' }), 1, '20 MB in lines')
  t.comment(`${Math.round(nowMs() - start)} ms`)
  const kept = log.reduce((sum, line) => sum + line.length, 0)
  t.ok(kept < 2 * MIB, `the log has ${kept} bytes of it`)
  t.match(await endpoint.ask({ kind: 'no streams' }), { detail: 'ValueError: silent' })
  t.equal(pidOf(await endpoint.ask({ kind: 'ok' })), pid, 'the same child all the time')
})

t.test('memory, disk, environment', { skip }, async (t) => {
  const childLimits = { ...NO_RUNTIMES.childLimits, memoryBytes: 512 * MIB, fileBytesMax: 4 * MIB }
  process.env['SWITCHYARD_TEST_SECRET'] = 'secret of the node'
  t.teardown(() => delete process.env['SWITCHYARD_TEST_SECRET'])
  const { open } = await pythonPlace(t, FILES, { childLimits })
  const endpoint = await open(functionPlan({ variables: { MINE: '1', OMP_NUM_THREADS: '2' } }))
  t.match(await endpoint.ask({ kind: 'memory' }), {
    code: 'ERR_CODE_RAISED',
    detail: /MemoryError/,
  })
  t.match(await endpoint.ask({ kind: 'disk' }), { detail: /^OSError: .*File too large/ })
  t.match(await endpoint.ask({ kind: 'ok' }), { status: 'answer' })
  const seen = await endpoint.response({ kind: 'environment' })
  const [environment, argv, line] = Array.isArray(seen) ? seen : []
  t.strictSame(Object.keys(environment).sort(), [
    'HOME',
    'LANG',
    'MINE',
    'MKL_NUM_THREADS',
    'NUMEXPR_NUM_THREADS',
    'OMP_NUM_THREADS',
    'OPENBLAS_NUM_THREADS',
    'PATH',
    'SWITCHYARD_CHILD',
    'TMPDIR',
    'VECLIB_MAXIMUM_THREADS',
  ])
  t.match(environment, { MINE: '1', OMP_NUM_THREADS: '2', MKL_NUM_THREADS: '1' })
  t.notMatch(JSON.stringify([environment, argv, line]), /secret of the node/)
})

t.test('code that cannot be loaded', { skip }, async (t) => {
  const { open } = await pythonPlace(t, {
    'syntax.py': 'x = 1\ndef f(:\n',
    'raises.py': 'import os\n\nraise KeyError("at import")\n',
    'missing.py': 'def f(): pass\nimport no_such_module_here\n',
    'exits.py': 'import os\nprint("bye")\nos._exit(7)\n',
    'sysexit.py': 'import sys\nsys.exit(2)\n',
    'class.py': 'class A:\n  def predict(self, x): pass\nclass B(A): pass\n',
    'constructor.py': 'class A:\n  def __init__(self, a, b): pass\n  def predict(self, x): pass\n',
    'json.py': 'import json as own\ndef f(): return own.__name__\n',
    'text.txt': 'def f(): pass',
  })
  const refused = async (file: string, detail: RegExp) =>
    t.rejects(open(functionPlan({ file })), { code: 'ERR_CODE_REFUSED', detail }, file)
  await refused('syntax.py', /^syntax\.py line 2: SyntaxError: invalid syntax/)
  await refused('raises.py', /^raises\.py line 3: KeyError: 'at import'$/)
  await refused(
    'missing.py',
    /^missing\.py line 2: ModuleNotFoundError: .*; list "no_such_module_here" in/,
  )
  await refused('exits.py', /ended: code 7\nbye/)
  await refused('sysexit.py', /^sysexit\.py line 2: SystemExit: 2/)
  await refused('nowhere.py', /nowhere\.py: FileNotFoundError/)
  await refused('text.txt', /must end in \.py/)
  const rejected = async (file: string, detail: RegExp) =>
    t.rejects(open(predictionPlan({}, { file })), { code: 'ERR_CODE_REFUSED', detail }, file)
  await rejected('class.py', /several classes have predict\(\): name one of A, B/)
  await rejected('constructor.py', /^constructor\.py: A\(a, b\): missing a required argument/)
  const shadow = await open(functionPlan({ file: 'json.py' }))
  t.equal(await shadow.response(''), 'json', 'a file named like a module hides nothing')
})

t.test('interpreters that are missing or too old', { skip }, async (t) => {
  const { open } = await pythonPlace(t, FILES, { python: null })
  await t.rejects(open(functionPlan()), {
    code: 'ERR_INTERPRETER_MISSING',
    detail: /^this bundle needs Python 3: install it with "apt-get install python3", or name an/,
  })
  const gone = await pythonPlace(t, FILES, { python: '/nowhere/python3' })
  await t.rejects(gone.open(functionPlan()), {
    code: 'ERR_INTERPRETER_MISSING',
    detail: /given as --python is no program; health names it/,
  })
  // The harness itself, told by its interpreter that it is an old one.
  const old = await pythonPlace(t, FILES)
  const python = join(old.directory, 'old-python')
  const pretend =
    'import runpy, sys; sys.version_info = (3, 7); ' +
    "runpy.run_path(sys.argv[-1], run_name='__main__')"
  writeFileSync(python, `#!/bin/sh\nexec /usr/bin/python3 -c "${pretend}" "$@"\n`, { mode: 0o755 })
  const other = await pythonPlace(t, FILES, { python })
  await t.rejects(other.open(functionPlan()), {
    code: 'ERR_CODE_REFUSED',
    detail: /Python 3\.8 or later is needed/,
  })
})
