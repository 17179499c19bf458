/**
 * Starts the load tools as processes of their own: our clients and autocannon through drive.ts, and
 * wrk where it is installed.
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { compiled } from './paths.ts'
import type { LoadOrder, LoadSample } from './sample.ts'

const run = promisify(execFile)

/** Whether a program is on the PATH. */
export function isInstalled(program: string): boolean {
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  return folders.some((folder) => existsSync(join(folder, program)))
}

interface DrivenLoad {
  readonly sample: Promise<LoadSample>
  stop(): void
}

/** Our own client or autocannon. `core`: the one CPU that the client may use. */
export function drive(order: LoadOrder, core: number | null = null): DrivenLoad {
  const node = [process.execPath, compiled('bench/drive.ts')]
  const [program = '', ...args] = core === null ? node : ['taskset', '-c', String(core), ...node]
  const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  child.send(order)
  return { sample: sampleOf(child), stop: () => child.send('stop') }
}

/** Only when the process has ended: then its CPU time is known to be the load's. */
function sampleOf(child: ChildProcess): Promise<LoadSample> {
  return new Promise((resolve, reject) => {
    let sample: LoadSample | null = null
    child.once('message', (message: LoadSample) => {
      sample = message
    })
    child.once('error', reject)
    child.once('exit', (code) => {
      if (sample !== null) resolve(sample)
      else reject(new Error(`the load process ended with code ${code}`))
    })
  })
}

/** As many requests as the server takes, by either tool. */
export function takeRate(tool: 'autocannon' | 'wrk', order: LoadOrder): Promise<LoadSample> {
  return tool === 'wrk' ? wrk(order) : drive({ ...order, kind: 'autocannon' }).sample
}

/** What wrk prints at its end through this script; it has no JSON of its own. */
const WRK_REPORT = `
done = function(summary, latency, requests)
  local e = summary.errors
  print(string.format("REPORT %d %d %d %d %d %d %d %d %d", summary.requests, summary.duration,
    e.connect, e.read, e.write, e.status, e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
`

/** Requests are put together once: wrk's own format() for each would slow it down. */
const WRK_TURNS = `
local requests, turn = {}, 0
init = function(args)
  local count = math.max(#bodies, #paths)
  for i = 0, count - 1 do
    local path = #paths > 0 and paths[i % #paths + 1] or nil
    requests[i + 1] = wrk.format(nil, path, nil, bodies[i % #bodies + 1])
  end
end
request = function()
  turn = turn % #requests + 1
  return requests[turn]
end
`

function wrkScript(order: LoadOrder): string {
  // With blanks around it: `[[` would begin a text by itself.
  const quoted = (text: string) => `[==[${text}]==]`
  const headers = { 'Content-Type': 'application/json', ...order.headers }
  const lines = Object.entries(headers).map(
    ([name, value]) => `wrk.headers[ ${quoted(name)} ] = ${quoted(value)}`,
  )
  const all = ['wrk.method = "POST"', ...lines]
  const { body, bodies = [body], paths = [] } = order
  // Without a script for each request wrk takes less of the machine that it shares with the server.
  if (bodies.length === 1 && paths.length === 0) {
    return [...all, `wrk.body = ${quoted(bodies[0] ?? '')}`, WRK_REPORT].join('\n')
  }
  const table = (name: string, texts: readonly string[]) =>
    `local ${name} = {\n${texts.map(quoted).join(',\n')}\n}`
  const tables = [table('bodies', bodies), table('paths', paths)]
  return [...all, ...tables, WRK_TURNS, WRK_REPORT].join('\n')
}

/** One thread: on a machine that it shares with the server a second one only takes from it. */
export async function wrk(order: LoadOrder): Promise<LoadSample> {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-wrk-'))
  const script = join(folder, 'post.lua')
  writeFileSync(script, wrkScript(order))
  const { connections, seconds } = order
  try {
    const length = Math.max(1, Math.round(seconds ?? 1))
    const flags = ['-t1', `-c${connections}`, `-d${length}s`, '--timeout', '30s']
    const { stdout } = await run('wrk', [...flags, '--latency', '-s', script, order.url])
    return wrkSample(stdout)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function wrkSample(stdout: string): LoadSample {
  const numbers = /REPORT ([\d ]+)/.exec(stdout)?.[1]?.trim().split(' ').map(Number) ?? []
  if (numbers.length !== 9) throw new Error(`wrk printed no report:\n${stdout}`)
  const [completed = 0, durationUs = 1, connect = 0, read = 0, write = 0] = numbers
  const [status = 0, timeout = 0, p50Us = 0, p99Us = 0] = numbers.slice(5)
  const failureKinds = { connect, read, write, status, timeout }
  return {
    tool: 'wrk',
    completed,
    failures: connect + read + write + status + timeout,
    failureKinds,
    seconds: durationUs / 1e6,
    perSecond: completed / (durationUs / 1e6),
    p50Us,
    p99Us,
  }
}
