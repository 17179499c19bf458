/**
 * Servers under test as child processes. Each says on stdout that it is ready, as the node does:
 * one line of JSON with its URL; those that cannot are asked until they answer.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { compiled, ROOT } from './paths.ts'

/** All that have not ended: whoever ends this program early must end them, they outlive it. */
const running = new Set<ChildProcess>()

/** Ends every server that was started here, whoever holds it. */
export async function stopAllServers(): Promise<void> {
  await Promise.all([...running].map(stopped))
}

const READY_MS = 60_000
const STOP_MS = 20_000

interface ServerOptions {
  readonly name: string
  /** Source path of the program, as `bench/peers/fastify.ts`; null: `interpreter` is it. */
  readonly script: string | null
  readonly args?: readonly string[]
  /** Runs the script; default: Node, which is given its compiled counterpart. */
  readonly interpreter?: string
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** For programs that print no such line: where it will listen, and whether it answers there. */
  readonly listens?: { readonly url: string; answers(): Promise<boolean> }
}

export interface Server {
  readonly name: string
  readonly pid: number
  readonly url: string
  /** Of the node only. */
  readonly adminUrl: string | null
  stop(): Promise<void>
}

interface ReadyLine {
  readonly event: string
  readonly url: string
  readonly adminUrl?: string
}

export async function startServer(options: ServerOptions): Promise<Server> {
  const { name, listens, cwd = ROOT } = options
  const [program = '', ...args] = commandOf(options)
  // A group of its own, so that what a server has started can be ended with it.
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_ENV: 'production', PYTHONDONTWRITEBYTECODE: '1', ...options.env },
    cwd,
    detached: true,
  })
  running.add(child)
  const tail = keepTail(child)
  try {
    const { url, adminUrl = null } = await readiness(child, listens)
    return { name, pid: child.pid ?? 0, url, adminUrl, stop: () => stopped(child) }
  } catch (error) {
    await stopped(child)
    throw new Error(`${name} did not start: ${String(error)}\n${tail.join('\n')}`)
  }
}

function commandOf({ script, interpreter, args = [] }: ServerOptions): string[] {
  if (interpreter === undefined) return [process.execPath, compiled(script ?? ''), ...args]
  return script === null ? [interpreter, ...args] : [interpreter, join(ROOT, script), ...args]
}

/** The last lines that a server wrote to stderr: what to show when it does not start. */
function keepTail(child: ChildProcess): string[] {
  const lines: string[] = []
  if (child.stderr === null) return lines
  createInterface({ input: child.stderr }).on('line', (line) => {
    lines.push(line)
    if (lines.length > 20) lines.shift()
  })
  return lines
}

async function readiness(
  child: ChildProcess,
  listens: ServerOptions['listens'],
): Promise<Omit<ReadyLine, 'event'>> {
  const timer = setTimeout(() => child.kill('SIGKILL'), READY_MS)
  const ended = new Promise<never>((_resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`ended with code ${code} before it was ready`)))
  })
  const ready = listens === undefined ? readyLine(child) : answering(child, listens)
  return Promise.race([ready, ended]).finally(() => clearTimeout(timer))
}

function readyLine(child: ChildProcess): Promise<ReadyLine> {
  return new Promise((resolve) => {
    if (child.stdout === null) return
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('{"event":"ready"')) resolve(JSON.parse(line))
    })
  })
}

async function answering(
  child: ChildProcess,
  { url, answers }: NonNullable<ServerOptions['listens']>,
): Promise<{ url: string }> {
  child.stdout?.resume()
  while (hasNotEnded(child) && !(await answers().catch(() => false))) await sleep(200)
  return { url }
}

function hasNotEnded(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null
}

async function stopped(child: ChildProcess): Promise<void> {
  if (hasNotEnded(child)) {
    const ended = new Promise((resolve) => child.once('exit', resolve))
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
    child.kill('SIGTERM')
    child.kill('SIGCONT') // One that was stopped by a signal could not end.
    await ended
    clearTimeout(timer)
  }
  if (running.delete(child)) endGroup(child.pid)
}

/** Some servers leave processes behind when they end. */
function endGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Nobody is left.
  }
}
