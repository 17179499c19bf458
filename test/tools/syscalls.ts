/**
 * The system calls of a process, as strace sees them: in which order it writes, flushes, renames
 * and answers. That order is all that survives the loss of power, and no other test can see it.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { until } from './waiting.ts'

const CALLS = [
  ...['fsync', 'fdatasync', 'sync_file_range', 'msync'],
  ...['rename', 'renameat', 'renameat2', 'link', 'linkat', 'symlink', 'symlinkat'],
  ...['mkdir', 'mkdirat', 'unlink', 'unlinkat', 'rmdir'],
  ...['openat', 'write', 'writev', 'pwrite64', 'pwritev', 'pwritev2', 'sendto', 'sendmsg'],
]
/** Flushes take this much longer, so that what does not wait for them is seen not to wait. */
const FLUSH_DELAY_US = 20_000

/** A question mark: the call may have another name on this processor. */
const OPTIONS = [
  ...['-f', '-yy', '-s', '64'],
  ...['-e', `trace=${CALLS.map((name) => `?${name}`).join(',')}`],
  ...['-e', `inject=fsync,fdatasync:delay_enter=${FLUSH_DELAY_US}`],
]

export interface Call {
  readonly name: string
  /** Line of the trace in which it began, and in which it had ended. */
  readonly from: number
  readonly until: number
  /** Arguments as strace prints them; a descriptor is followed by `<its path>`. */
  readonly args: string
  readonly failed: boolean
}

/** Why system calls cannot be traced here; null: they can. */
export function whyNoTrace(): string | null {
  const tried = spawnSync('strace', ['-o', '/dev/null', 'true'], { encoding: 'utf8' })
  if (tried.error !== undefined) return 'strace is not installed'
  return tried.status === 0 ? null : `strace may not trace here: ${tried.stderr.trim()}`
}

export interface Trace {
  /** What the process did while it was traced. */
  end(): Promise<Call[]>
}

/** From now on; children that the process starts meanwhile are let go when they run a program. */
export async function traceProcess(t: Test, pid: number): Promise<Trace> {
  const path = traceFile(t)
  const args = [...OPTIONS, '-b', 'execve', '-o', path, '-p', String(pid)]
  const strace = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  t.teardown(() => ended(strace))
  await attached(strace)
  return {
    end: async () => {
      await ended(strace)
      return callsOf(readFileSync(path, 'utf8'))
    },
  }
}

/** Each write of one thread takes so much longer from now on, as on a disk that is ill. */
export async function slowThread(t: Test, thread: number, delayUs: number) {
  const delay = `inject=write,writev:delay_enter=${delayUs}`
  const args = ['-e', 'trace=write,writev', '-e', delay, '-o', '/dev/null', '-p', String(thread)]
  const strace = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  t.teardown(() => ended(strace))
  await attached(strace)
  return { end: () => ended(strace) }
}

async function attached(strace: ChildProcess): Promise<void> {
  let said = ''
  // Read to its end: strace tells of every thread, and would stop where nobody listens.
  strace.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  await until(() => said.includes('attached') || strace.exitCode !== null)
  if (!said.includes('attached')) throw new Error(`not traced: ${said}`)
}

/** A command that is traced from its start, and how to read what it and its children did. */
export function tracedCommand(t: Test, command: readonly string[]) {
  const path = traceFile(t)
  const traced = ['strace', '--seccomp-bpf', ...OPTIONS, '-o', path, ...command]
  return { command: traced, calls: () => callsOf(readFileSync(path, 'utf8')) }
}

async function ended(strace: ChildProcess): Promise<void> {
  if (strace.exitCode !== null || strace.signalCode !== null) return
  const exit = once(strace, 'exit')
  strace.kill('SIGINT')
  await exit
}

function traceFile(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-trace-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'trace')
}

/** Another thread's call between the two halves of one splits it into two lines. */
function callsOf(text: string): Call[] {
  const calls: Call[] = []
  const open = new Map<string, { name: string; from: number; args: string }>()
  for (const [line, content] of text.split('\n').entries()) {
    const [, thread = '', rest = ''] = /^(\d+) +(.*)$/.exec(content) ?? []
    const begun = /^(\w+)\((.*?),? *<(?:unfinished|detached) \.\.\.>$/.exec(rest)
    const resumed = /^<\.\.\. (\w+) resumed>(.*)\) += (-?\d+|\?)/.exec(rest)
    const whole = /^(\w+)\((.*)\) += (-?\d+|\?)/.exec(rest)
    if (begun !== null) {
      open.set(thread, { name: begun[1] ?? '', from: line, args: begun[2] ?? '' })
    } else if (resumed !== null) {
      const half = open.get(thread)
      if (half === undefined || half.name !== resumed[1]) continue
      open.delete(thread)
      const args = half.args + (resumed[2] ?? '')
      calls.push({ ...half, args, until: line, failed: isFailure(resumed[3]) })
    } else if (whole !== null) {
      const [, name = '', args = '', result] = whole
      calls.push({ name, args, from: line, until: line, failed: isFailure(result) })
    }
  }
  // The trace ended inside them: that they began is known, that they ended is not.
  for (const half of open.values()) calls.push({ ...half, until: Infinity, failed: true })
  return calls
}

function isFailure(result: string | undefined): boolean {
  return result === undefined || result === '?' || result.startsWith('-')
}

/** Flushes of this file or directory that succeeded. */
export function flushesOf(calls: readonly Call[], path: string): Call[] {
  return calls.filter(
    ({ name, args, failed }) =>
      (name === 'fsync' || name === 'fdatasync') && !failed && args.includes(`<${path}>`),
  )
}

/** Writes into this file through its descriptor. */
export function writesTo(calls: readonly Call[], path: string): Call[] {
  return calls.filter(({ name, args }) => /write/.test(name) && args.includes(`<${path}>, `))
}

/** Successful answers that were handed to the network. */
export function answersIn(calls: readonly Call[]): Call[] {
  return calls.filter(({ args }) => /<TCP[^"]*"HTTP\/1\.1 2/.test(args))
}

/** Calls of one of these names that name this path. */
export function callsOn(calls: readonly Call[], names: RegExp, path: string): Call[] {
  return calls.filter(
    ({ name, args, failed }) => names.test(name) && !failed && args.includes(`"${path}"`),
  )
}
