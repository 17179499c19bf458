/**
 * A fleet for tests: the real fleet over real child processes that speak the channel and die, hang
 * or fail at the moment that a test names. The real serving process does none of this on demand.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ReplaceReason } from '../../admin/contracts.ts'
import { Fleet, type FleetOptions } from '../../admin/serving/fleet.ts'
import { forkServe } from '../../admin/serving/serve-process.ts'
import { type Logger, SILENT } from '../../core/base/logger.ts'
import type { DesiredState, ServeConfig } from '../../core/channel/messages.ts'
import { recordOf } from '../../core/channel/witness.ts'
import type { MetricsDelta } from '../../core/metrics/delta.ts'
import { NO_QUERY_LOG, NO_RUNTIMES } from './runtimes.ts'

const folder = mkdtempSync(join(tmpdir(), 'switchyard-fleet-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

/**
 * Generations are named after what shall happen when they are loaded; files in its folder say what
 * shall happen to the next process that starts. What it is told goes into a log, one line each.
 */
const PROGRAM = `
import { appendFileSync, existsSync, unlinkSync, writeFileSync } from 'node:fs'
const FOLDER = process.argv[1].replace(/[^/]*$/, '')
// Who unlinks it has it: two processes may ask in the same moment.
const once = (name) => {
  try { unlinkSync(FOLDER + name) } catch { return false }
  return true
}
let config
let last = { revision: 0, connections: 0, generations: [] }
let leaving = false
let poor = false
const hangs = {}
const known = new Map()
const nameOf = ({ serviceId, generationId }) => serviceId + '/' + generationId
const delta = { endpoints: [], services: [], usedKeys: [], activeRequests: 1, connections: 2 }
const observe = () => process.send({ kind: 'observed', state: last })
const note = (text) => appendFileSync(FOLDER + 'log', process.pid + ' ' + text + '\\n')
const stateOf = (id) => {
  if (poor || id === 'failed') return 'failed'
  return id === 'ok' ? 'warm' : 'loading'
}
const handlers = {
  configure(message) {
    config = message.config
    if (once('dies-at-once')) process.exit(3)
    poor = once('next-loads-nothing')
    if (once('next-one-dies')) writeFileSync(FOLDER + 'dies-at-once', '')
    if (config.witnessFile && existsSync(FOLDER + 'witnessed')) {
      writeFileSync(config.witnessFile, WITNESSED)
    }
  },
  desired({ state, stopped }) {
    note('desired ' + state.revision + ' stopped ' + stopped.length)
    for (const name of state.generations.gone) known.delete(name)
    for (const one of state.generations.puts) known.set(nameOf(one), one)
    const held = [...known.values()]
    if (existsSync(FOLDER + 'deaf-' + process.pid)) return
    const apply = () => {
      const lost = once('loses-a-thread')
      const generations = held.map(({ serviceId, generationId }) => ({
        serviceId, generationId, reason: poor || generationId === 'failed' ? 'no good' : null,
        state: stateOf(generationId),
        threads: 1, threadsLost: lost ? 1 : 0,
        loadMs: generationId === 'ok' ? 1 : null,
        queued: 0, running: 0,
        runtimes: [], stoppedEndpoints: [], hangs: lost ? { e: 1 } : {},
      }))
      last = { revision: state.revision, connections: 2, generations }
      observe()
      if (generations.some(({ generationId }) => generationId === 'killer')) {
        setTimeout(() => process.kill(process.pid, 'SIGKILL'), 20)
      }
      if (generations.some(({ generationId }) => generationId === 'hang')) {
        setTimeout(() => { for (;;); }, 50)
      }
    }
    setTimeout(apply, leaving && existsSync(FOLDER + 'slow-leaver') ? 300 : 0)
  },
  listen() {
    note('listen')
    if (once('cannot-listen')) process.send({ kind: 'listenFailed', reason: 'in use' })
    else if (existsSync(FOLDER + 'port-of-one') && !once('port-is-free')) {
      // Later than the word of the one that has it, which takes another pipe.
      setTimeout(() => process.send({ kind: 'listenFailed', reason: 'EADDRINUSE' }), 50)
    } else {
      const server = existsSync(FOLDER + 'port-of-one') ? 'node' : 'uws'
      process.send({ kind: 'listening', port: config.port, server })
    }
  },
  collect: ({ id }) => process.send({ kind: 'metrics', id, delta }),
  retire() {
    note('retire')
    leaving = true
    if (existsSync(FOLDER + 'port-of-one')) writeFileSync(FOLDER + 'port-is-free', '')
    if (existsSync(FOLDER + 'stays')) return
    process.send({ kind: 'retired', connections: 2 })
    const endMs = existsSync(FOLDER + 'slow-leaver') ? 1_000 : 20
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), endMs)
  },
  stop: () => process.send({ kind: 'drained', delta }, () => process.exit(0)),
}
process.on('message', (message) => handlers[message.kind](message))
process.on('disconnect', () => process.exit(0))
`

const CONFIG: ServeConfig = {
  host: '127.0.0.1',
  port: 12_345,
  tlsCert: null,
  tlsKey: null,
  threads: 1,
  modelCores: null,
  strictHeaders: true,
  bodyBytesMax: 1024,
  bodyBytesTotalMax: 1024,
  unreadBytesMax: 1024,
  connectionsMax: 1,
  hangMs: 1_000,
  drainMs: 100,
  capacity: { generationsMax: null, bytesMax: null },
  notAliveFile: '/none',
  version: '0',
  logLevel: 'silent',
  processes: 1,
  place: 0,
  witnessFile: null,
  runtimes: NO_RUNTIMES,
  issuers: [],
  queryLog: NO_QUERY_LOG,
}

export interface FleetSettings extends Partial<Omit<FleetOptions, 'config' | 'launch'>> {
  readonly processes?: number
  /** Changes of the program that a test needs. */
  readonly replace?: readonly [RegExp, string]
  readonly program?: string
  /** One that Node refuses stands for a system that cannot start another process. */
  readonly execArgv?: readonly string[]
  /** What a witness says that was running, `service/generation/endpoint`. */
  readonly witnessed?: readonly string[]
}

export interface TestFleet {
  readonly fleet: Fleet
  /** Deltas by source. */
  readonly deltas: Map<number, MetricsDelta[]>
  /** Makes something happen to the processes that start, or to the next one. */
  let(name: string): void
  /** What the processes were told: `<pid> <what>`. */
  told(): string[]
}

let fleets = 0

export function newFleet(t: Test, settings: FleetSettings = {}): TestFleet {
  const { processes = 1, replace, program, witnessed = [], execArgv = [], ...options } = settings
  fleets += 1
  const own = mkdtempSync(join(folder, `${fleets}-`))
  const entry = join(own, 'program.mjs')
  const bytes = Buffer.concat(witnessed.map(recordOf)).toString('latin1')
  const text = program ?? PROGRAM.replace('WITNESSED', JSON.stringify(bytes))
  writeFileSync(entry, replace === undefined ? text : text.replace(...replace))
  const deltas = new Map<number, MetricsDelta[]>()
  let paths = 0
  const fleet = new Fleet({
    launch: forkServe({ entry, execArgv, env: process.env }),
    config: { ...CONFIG, processes },
    metrics: {
      add: (delta, source) => void deltas.set(source, [...(deltas.get(source) ?? []), delta]),
      disconnected: (source) => void deltas.delete(source),
    },
    beatEveryMs: 10_000,
    memoryBytesMax: 2 ** 40,
    witnessPath: () => {
      paths += 1
      return join(own, `witness-${paths}`)
    },
    tcpMigrateReq: null,
    logger: SILENT,
    ...options,
  })
  t.teardown(() => fleet.stop())
  const told = (): string[] => {
    try {
      return readFileSync(join(own, 'log'), 'utf8').trim().split('\n')
    } catch {
      return []
    }
  }
  return { fleet, deltas, told, let: (name) => writeFileSync(join(own, name), '') }
}

/** One service whose mapping is its first generation. */
export function desired(revision: number, generationIds: readonly string[]): DesiredState {
  const plan = {
    planVersion: 1,
    authorization: { method: 'PUBLIC', keys: [] },
    threads: null,
    endpoints: [],
  } as const
  const mapping = generationIds.slice(0, 1).map((generationId) => ({ generationId, proba: 1 }))
  return {
    revision,
    services: [{ serviceId: 's', enabled: true, mapping }],
    generations: generationIds.map((generationId) => ({
      serviceId: 's',
      generationId,
      directory: '/none',
      plan,
    })),
    keys: [],
  }
}

/** A fleet that serves one generation. */
export async function openFleet(t: Test, settings: FleetSettings = {}): Promise<TestFleet> {
  const made = newFleet(t, settings)
  made.fleet.publish(desired(1, ['ok']))
  made.fleet.start()
  const opened = await made.fleet.open()
  t.same(opened.kind, 'listening')
  return made
}

export function pidsOf(fleet: Fleet, state: 'starting' | 'serving' | 'retiring'): number[] {
  const processes = fleet.status().processes.filter((one) => one.state === state)
  return processes.flatMap(({ pid }) => pid ?? [])
}

export function replacements(fleet: Fleet, reason: ReplaceReason): number {
  return fleet.status().replacements[reason] ?? 0
}

/** A log that keeps what is said. */
export function listening(): { readonly logger: Logger; readonly said: string[] } {
  const said: string[] = []
  const keep = (_fields: object, message: string): void => void said.push(message)
  return { said, logger: { debug: keep, info: keep, warn: keep, error: keep } }
}
