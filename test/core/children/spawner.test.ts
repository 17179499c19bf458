/**
 * Goal: nothing that children have started outlives the node, even when the node is killed.
 * Method: a program of its own starts children that start others, and is killed with SIGKILL; and
 * children that fork themselves without end are counted and ended.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { compiled, ROOT } from '../../../bench/paths.ts'
import { assetPath } from '../../../core/base/assets.ts'
import { nowMs } from '../../../core/base/clock.ts'
import { SILENT } from '../../../core/base/logger.ts'
import { markOf, processIds } from '../../../core/children/processes.ts'
import { Spawner } from '../../../core/children/spawner.ts'
import type { FromSpawner } from '../../../core/children/spec.ts'
import { localHost } from '../../../workers/children/local-host.ts'
import { runtimes } from '../../tools/runtimes.ts'
import { until } from '../../tools/waiting.ts'

const PYTHON = '/usr/bin/python3'

/** Starts one process in its own group and one in a session of its own, then computes. */
const FAMILY = `
import subprocess, sys
idle = [sys.executable, '-I', '-c', 'import time; time.sleep(60)']
subprocess.Popen(idle); subprocess.Popen(idle, start_new_session=True)
print('ready', flush=True)
while True: pass`

async function marked(folder: string): Promise<readonly number[]> {
  const found: number[] = []
  for (const pid of await processIds()) {
    if ((await markOf(pid))?.startsWith(`${folder}/`)) found.push(pid)
  }
  return found
}

/** Milliseconds that it took. */
async function untilNone(folder: string): Promise<number> {
  const start = nowMs()
  await until(async () => (await marked(folder)).length === 0)
  return Math.round(nowMs() - start)
}

async function untilReady(child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once('data', () => resolve())
    child.once('exit', (code) => reject(new Error(`the program ended with ${code}`)))
  })
}

t.test('a killed node takes all with it', async (t) => {
  const settings = runtimes(t)
  const { runDirectory } = settings
  const program = join(runDirectory, '../node.mjs')
  const directory = join(runDirectory, '../generation')
  mkdirSync(directory)
  const spec = {
    name: 'test',
    program: PYTHON,
    args: ['-I', '-c', FAMILY],
    directory,
    env: {},
    frames: false,
    limits: settings.childLimits,
  }
  writeFileSync(
    program,
    `import { localHost } from ${JSON.stringify(compiled('workers/children/local-host.ts'))}
const host = await localHost(${JSON.stringify(settings)}, () => {})
const spec = ${JSON.stringify(spec)}
const children = await Promise.all([host.start(spec), host.start(spec)])
for (const child of children) await new Promise((resolve) => child.output.once('data', resolve))
console.log('ready')
setInterval(() => {}, 1000)`,
  )
  const node = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => node.kill('SIGKILL'))
  await untilReady(node)
  t.equal((await marked(runDirectory)).length, 6)
  node.kill('SIGKILL')
  t.comment(`all gone after ${await untilNone(runDirectory)} ms`)
  const folders = (): readonly string[] => readdirSync(runDirectory).filter((n) => !/sock/.test(n))
  await until(() => folders().length === 0)
})

for (const detach of ['', 'os.setsid(); ']) {
  t.test(`a fork bomb${detach === '' ? '' : ' that detaches itself'}`, async (t) => {
    const settings = runtimes(t)
    const host = await localHost(settings, () => {})
    t.teardown(() => host.close())
    const start = nowMs()
    const child = await host.start({
      name: 'test',
      program: PYTHON,
      // At most 512 processes, should nobody stop them.
      args: [
        '-I',
        '-c',
        `import os, time\nfor _ in range(9):\n  if os.fork() == 0: ${detach}pass
time.sleep(20)`,
      ],
      directory: settings.runDirectory,
      env: {},
      frames: false,
      limits: { ...settings.childLimits, processesMax: 32 },
    })
    if (process.getuid?.() === 0) {
      t.equal(await child.exited, 'SIGKILL: more than 32 processes')
    } else {
      // Of everybody but root the kernel counts the processes, and starting more just fails.
      await sleep(300)
      const count = (await marked(settings.runDirectory)).length
      t.ok(count <= 64, `${count} were started`)
      child.kill()
    }
    t.comment(`stopped after ${Math.round(nowMs() - start)} ms`)
    await untilNone(settings.runDirectory)
  })
}

t.test('close ends all, and what is asked afterwards is refused', async (t) => {
  const settings = runtimes(t)
  const spawner = new Spawner({ settings, logger: SILENT })
  const told: FromSpawner[] = []
  const spec = {
    name: 'test',
    program: '/bin/sleep',
    args: ['60'],
    directory: settings.runDirectory,
    env: {},
    frames: false,
    limits: settings.childLimits,
  }
  const request = { kind: 'spawn', id: 1, socket: '/no-such-socket', token: 'x', spec } as const
  await spawner.spawn(request, (message) => told.push(message)).gone
  t.match(told, [{ kind: 'exited', id: 1, how: /it cannot be started: .*ENOENT/ }])
  await spawner.close()
  spawner.spawn({ ...request, id: 2 }, (message) => told.push(message))
  await sleep(10)
  t.match(told[1], { kind: 'exited', id: 2, how: 'the node stops' })
})

t.test('assets lie beside the sources', async (t) => {
  t.equal(assetPath('package.json'), join(ROOT, 'package.json'))
  t.match(readFileSync(assetPath('core/base/assets.ts'), 'utf8'), /assetPath/)
})
