/**
 * A node that is tried for long: one data directory, one pair of ports, a service that answers a
 * steady load, one that can be made to hang, and beside it somebody who remembers what was
 * acknowledged. Steps are data, so that those of a failed run can be taken again.
 */

import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { pickPort } from '../../../admin/ports.ts'
import { nowMs } from '../../../core/base/clock.ts'
import { GUARD } from '../choosing.ts'
import { bundleOf, Client } from '../client.ts'
import {
  applied,
  generationsOf,
  generationsOnDisk,
  type Operation,
  perform,
  type State,
  stateOf,
} from '../history.ts'
import { ROW, ROW_SUM } from '../life.ts'
import { freshHome, readyLine, type StartedProcess, startProcess } from '../node.ts'
import { countingLoop, regressor } from '../onnx-models.ts'
import { type SmallDisk, smallDisk, whyNoSmallDisk } from '../small-disk.ts'
import { until } from '../waiting.ts'
import { type Load, startLoad } from './load.ts'

const PROCESSES = 2
const HANG_MS = 2_000
const TIMEOUT_MS = 500
const DISK_BYTES = 192 * 1024 * 1024
/** A busy machine takes its time to put a node right. */
const WELL_MS = 90_000
const FEW_TURNS = { features: { turns: { shape: [1], data: [10] } } }

/** Has an endpoint that can be made to hang; of its own, for all of a generation share threads. */
export const HANGS = 'hangs'

/** What operations are chosen from: not the services that are there for the trial itself. */
export function changeable({ services, keys }: State): State {
  const { [GUARD]: _, [HANGS]: __, ...others } = services
  return { services: others, keys }
}

function hangingBundle(): Buffer {
  const testQueries = [{ name: 'few turns', q: FEW_TURNS }]
  return bundleOf(countingLoop(), { prediction: 'RAW', timeoutMs: TIMEOUT_MS, testQueries })
}

export class World {
  readonly home: string
  readonly disk: SmallDisk | null
  state: State = { services: {}, keys: [] }
  readonly #t: Test
  readonly #adminKey = `soak-${randomBytes(18).toString('hex')}`
  readonly #keyIds = new Map<string, string>()
  readonly #ports: { readonly query: number; readonly admin: number }
  #started: StartedProcess | null = null
  #client: Client | null = null
  #load: Load | null = null

  private constructor(t: Test, ports: { query: number; admin: number }) {
    this.#t = t
    this.#ports = ports
    this.disk = whyNoSmallDisk() === null ? smallDisk(t, DISK_BYTES) : null
    this.home = this.disk === null ? freshHome(t) : join(this.disk.path, 'data')
  }

  static async open(t: Test): Promise<World> {
    const ports = { query: await pickPort('127.0.0.1'), admin: await pickPort('127.0.0.1') }
    const world = new World(t, ports)
    await world.start()
    await world.client.deploy(GUARD, 'g1', bundleOf(regressor(2)))
    await world.client.deploy(HANGS, 'g1', hangingBundle())
    world.state = await stateOf(world.client)
    world.#load = startLoad({
      port: ports.query,
      path: `/public/api/v1/${GUARD}/p/predict`,
      body: JSON.stringify(ROW),
      wanted: `"prediction":${ROW_SUM}`,
      callers: 4,
      thinkMs: 20,
    })
    return world
  }

  get client(): Client {
    if (this.#client === null) throw new Error('no node runs')
    return this.#client
  }

  get load(): Load {
    if (this.#load === null) throw new Error('nobody asks')
    return this.#load
  }

  get started(): StartedProcess {
    if (this.#started === null) throw new Error('no node runs')
    return this.#started
  }

  get queryPort(): number {
    return this.#ports.query
  }

  async start(): Promise<void> {
    const args = ['--processes', String(PROCESSES), '--hang-ms', String(HANG_MS)]
    const ports = ['--port', String(this.#ports.query), '--admin-port', String(this.#ports.admin)]
    const env = { SWITCHYARD_ADMIN_KEY: this.#adminKey, SWITCHYARD_KEEP_PREVIOUS_MS: '5000' }
    const started = startProcess(this.#t, { home: this.home, env, args: [...args, ...ports] })
    const ready = await readyLine(started)
    const node = { ...ready, adminKey: this.#adminKey, home: this.home, log: started.log }
    this.#client = new Client({ ...node, stop: async () => 0 })
    this.#started = started
  }

  /** The reply; what was acknowledged is remembered. */
  async perform(operation: Operation) {
    const reply = await perform(this.client, operation, this.#keyIds)
    if (reply.status < 300) {
      this.state = applied(this.state, operation)
      if (operation.kind === 'createKey') this.#keyIds.set(operation.label, reply.body.id)
    }
    return reply
  }

  /** Labels of keys that may be deleted. */
  deletableKeys(): string[] {
    return this.state.keys.filter((label) => this.#keyIds.has(label))
  }

  /** Until all processes serve and health has nothing to say. */
  async well(): Promise<void> {
    const startMs = nowMs()
    let said = ''
    const isWell = async (): Promise<boolean> => {
      const { body } = await this.client.admin('GET', '/health')
      said = JSON.stringify(body?.details?.causes)
      return body?.status === 'HEALTHY'
    }
    while (!(await isWell())) {
      if (nowMs() - startMs > WELL_MS) throw new Error(`the node does not recover: ${said}`)
    }
  }

  async stop(): Promise<void> {
    await this.#load?.stop()
    this.started.child.kill('SIGTERM')
    const code = await this.started.ended
    if (code !== 0) throw new Error(`the node ended with ${code}`)
  }

  /** What the node says, what lies on disk, and what its services answer. */
  async check(): Promise<void> {
    const found = await stateOf(this.client)
    same(found, this.state, 'what the node says that it holds')
    await until(() => {
      const staging = readdirSync(join(this.home, 'staging'))
      return staging.length === 0 || !existsSync(join(this.home, 'staging'))
    })
    // The folder of a service may stay when its last generation goes, until the next start.
    const onDisk = generationsOnDisk(this.home).filter((name) => !(name in this.state.services))
    same(onDisk, generationsOf(this.state), 'what lies on disk')
    for (const [id, { enabled, mapping }] of Object.entries(changeable(this.state).services)) {
      const { status, body } = await this.client.query(`${id}/p/predict`, ROW)
      const values = Object.keys(mapping).map((one) => ROW_SUM * Number(one.slice(1)))
      const isRight =
        enabled && values.length > 0
          ? status === 200 && values.includes(body.result.prediction)
          : status === 503
      if (!isRight) throw new Error(`${id}: ${status} ${JSON.stringify(body).slice(0, 300)}`)
    }
  }
}

function same(found: unknown, wanted: unknown, what: string): void {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (a !== b) throw new Error(`${what}: ${a}\nand not: ${b}`)
}
