/**
 * A whole node for a test: the built program in its own processes, on a fresh data directory and
 * free ports. The test fails when one of its processes is left behind.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { compiled } from '../../bench/paths.ts'

const READY_MS = 60_000
const STOP_MS = 30_000
/** What a process group of a dead node may take to be gone. */
const ORPHAN_MS = 10_000

export interface NodeSettings {
  readonly env?: Readonly<Record<string, string>>
  readonly args?: readonly string[]
  /** Default: a fresh one that is removed with the test. */
  readonly home?: string
}

export interface TestNode {
  readonly url: string
  readonly adminUrl: string
  readonly adminKey: string
  /** Of control. */
  readonly pid: number
  readonly home: string
  /** stderr so far: JSON lines and what else was said. */
  log(): string
  /** SIGTERM; the exit code, or -1 when a signal ended it. */
  stop(): Promise<number>
}

/** How many processes serve in the nodes of this run: `npm test -- --processes 2`. */
export function servingProcesses(): number {
  return Number(process.env['TEST_PROCESSES'] ?? 1)
}

/** A node that may or may not become ready. */
export interface StartedProcess {
  readonly child: ChildProcess
  readonly home: string
  readonly adminKey: string
  stdout(): string
  log(): string
  /** Exit code; -1 when a signal ended it. */
  readonly ended: Promise<number>
  /** Ids of all processes of this node that run. */
  processes(): number[]
}

/** Waits for the ready line; throws with the log when the node ends before it. */
export async function startNode(t: Test, settings: NodeSettings = {}): Promise<TestNode> {
  const started = startProcess(t, settings)
  const { child, home, adminKey, log } = started
  const ready = await readyLine(started)
  const stop = async (): Promise<number> => {
    child.kill('SIGTERM')
    return started.ended
  }
  return { ...ready, adminKey, home, log, stop }
}

/** Starts the program and returns at once: for tests of the start itself. */
export function startProcess(
  t: Test,
  settings: NodeSettings = {},
  command: readonly string[] = [process.execPath, compiled('core/main.ts')],
): StartedProcess {
  const home = settings.home ?? freshHome(t)
  const mark = markOf(home)
  const adminKey = `test-${randomBytes(18).toString('hex')}`
  const [program = process.execPath, ...args] = command
  const child = spawn(program, [...args, ...(settings.args ?? [])], {
    env: environment(home, mark, { SWITCHYARD_ADMIN_KEY: adminKey, ...settings.env }),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const started: StartedProcess = {
    child,
    home,
    adminKey,
    stdout: collect(child.stdout),
    log: collect(child.stderr),
    ended: once(child, 'close').then(([code]) => (typeof code === 'number' ? code : -1)),
    processes: () => processesOf(mark, home),
  }
  t.teardown(() => tearDown(started))
  return started
}

export interface Ready {
  readonly url: string
  readonly adminUrl: string
  readonly pid: number
}

export async function readyLine(started: StartedProcess): Promise<Ready> {
  const endMs = performance.now() + READY_MS
  let ended = false
  void started.ended.then(() => {
    ended = true
  })
  while (performance.now() < endMs && !ended) {
    const line = started.stdout().match(/^\{"event":"ready".*\}$/m)?.[0]
    if (line !== undefined) {
      const { url, adminUrl, pid } = JSON.parse(line)
      return { url, adminUrl, pid }
    }
    await sleep(10)
  }
  throw new Error(`not ready; stdout: ${started.stdout()}\nstderr: ${started.log()}`)
}

/** A data directory that goes with the test. */
export function freshHome(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-test-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'data')
}

/** Until none is left; returns those that are after ten seconds. */
export async function remaining(started: StartedProcess): Promise<number[]> {
  const endMs = performance.now() + ORPHAN_MS
  let left = started.processes()
  while (left.length > 0 && performance.now() < endMs) {
    await sleep(20)
    left = started.processes()
  }
  return left
}

async function tearDown(started: StartedProcess): Promise<void> {
  const { child, ended } = started
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
  const late = await Promise.race([ended.then(() => false), sleep(STOP_MS, true, { ref: false })])
  const left = late ? started.processes() : await remaining(started)
  for (const pid of left) kill(pid)
  if (left.length === 0) return
  throw new Error(`processes were left: ${left.join(', ')}\n${started.log()}`)
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Ended meanwhile.
  }
}

/** A developer's own settings must not reach the node, nor tap's. */
function environment(home: string, mark: string, over: Readonly<Record<string, string>>) {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(SWITCHYARD_|TAP|NODE_)/.test(name),
  )
  return {
    ...Object.fromEntries(kept),
    SWITCHYARD_HOME: home,
    SWITCHYARD_PORT: '0',
    SWITCHYARD_ADMIN_PORT: '0',
    SWITCHYARD_DEMO: 'false',
    SWITCHYARD_PROCESSES: String(servingProcesses()),
    // Passed on to every child, the forge too: so the processes of one node are known from others.
    TMPDIR: mark,
    ...over,
  }
}

let starts = 0

/** A folder of its own for every start, beside the data directory. */
function markOf(home: string): string {
  starts += 1
  const mark = `${home}-tmp-${starts}`
  mkdirSync(mark, { recursive: true })
  return mark
}

/**
 * Those of the node itself, and its children: they have folders of their own below its run
 * directory, which lies in `mark` where the data directory is too deep for sockets.
 */
function processesOf(mark: string, home: string): number[] {
  if (!existsSync('/proc/self/environ')) return []
  const marks = [`TMPDIR=${mark}\0`, `TMPDIR=${mark}/`, `SWITCHYARD_CHILD=${mark}/`]
  marks.push(`SWITCHYARD_CHILD=${join(resolve(home), 'run')}/`)
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return pids.filter((pid) => hasMark(pid, marks)).map(Number)
}

/** A process that has ended but was not waited for has an empty environment. */
function hasMark(pid: string, marks: readonly string[]): boolean {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, 'utf8')
    return marks.some((mark) => environment.includes(mark))
  } catch {
    return false
  }
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  let text = ''
  stream?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  return () => text
}
