/**
 * Servers under test as child processes. Each says on stdout that it is ready, as the node does:
 * one line of JSON with its URL.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { compiled, ROOT } from './paths.ts'

const READY_MS = 60_000
const STOP_MS = 20_000

interface ServerOptions {
  readonly name: string
  /** Source path of the program, for example `bench/peers/fastify.ts`. */
  readonly script: string
  readonly args?: readonly string[]
  /** Runs the script; default: Node, which is given its compiled counterpart. */
  readonly interpreter?: string
  readonly env?: Readonly<Record<string, string>>
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
  const { interpreter, script, args = [] } = options
  const program = interpreter ?? process.execPath
  const file = interpreter === undefined ? compiled(script) : join(ROOT, script)
  const child = spawn(program, [file, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_ENV: 'production', ...options.env },
  })
  const tail = keepTail(child)
  try {
    const ready = await readyLine(child)
    const { name } = options
    const { url, adminUrl = null } = ready
    return { name, pid: child.pid ?? 0, url, adminUrl, stop: () => stopped(child) }
  } catch (error) {
    await stopped(child)
    throw new Error(`${options.name} did not start: ${String(error)}\n${tail.join('\n')}`)
  }
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

function readyLine(child: ChildProcess): Promise<ReadyLine> {
  const timer = setTimeout(() => child.kill('SIGKILL'), READY_MS)
  return new Promise<ReadyLine>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`ended with code ${code} before it was ready`)))
    if (child.stdout === null) return
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('{"event":"ready"')) resolve(JSON.parse(line))
    })
  }).finally(() => clearTimeout(timer))
}

async function stopped(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  child.kill('SIGTERM')
  await ended
  clearTimeout(timer)
}
