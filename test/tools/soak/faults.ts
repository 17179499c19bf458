/** What is done to a node that is tried for long; each says what its callers may notice. */

import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { GUARD } from '../choosing.ts'
import { requestOf } from '../fuzz/requests.ts'
import { manneredVisit, visit } from '../fuzz/visit.ts'
import { applied, type Operation, stateOf } from '../history.ts'
import { killAll } from '../life.ts'
import type { Random } from '../random.ts'
import type { Excuse } from './load.ts'
import { changeable, HANGS, type World } from './world.ts'

export interface Fault {
  readonly excuse: Excuse
  run(world: World, random: Random): Promise<void>
}

const SLOW_CLIENTS = 60
const FUZZ_REQUESTS = 60
const ENDLESS = { features: { turns: { shape: [1], data: [1e12] } } }
const BODY = '{"features":{"f0":1,"f1":2}}'

async function servingPids({ client }: World): Promise<number[]> {
  const { body } = await client.admin('GET', '/health')
  return body.details.serving.processes.map((one: { pid: number }) => one.pid)
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // Ended meanwhile.
  }
}

/** An import that nobody is told the end of, and what the node says became of it. */
async function pendingImport(world: World, random: Random): Promise<Operation | null> {
  const services = Object.keys(changeable(world.state).services)
  if (services.length === 0) return null
  const generation = `g${1_000_000 + random.below(1_000_000)}`
  return { kind: 'importGeneration', service: random.pick(services), generation }
}

/** The node decides whether it was done; either is right. */
async function adopt(world: World, pending: Operation | null): Promise<void> {
  const found = JSON.stringify(await stateOf(world.client))
  const isDone = pending !== null && JSON.stringify(applied(world.state, pending)) === found
  if (isDone && pending !== null) world.state = applied(world.state, pending)
}

export const FAULTS: Readonly<Record<string, Fault>> = {
  killServe: {
    excuse: 'connections',
    async run(world, random) {
      signal(random.pick(await servingPids(world)), 'SIGKILL')
    },
  },
  haltServe: {
    // Long enough for deadlines, too short to be taken for dead.
    excuse: 'failures',
    async run(world, random) {
      const pid = random.pick(await servingPids(world))
      signal(pid, 'SIGSTOP')
      await sleep(1_000 + random.below(2_000))
      signal(pid, 'SIGCONT')
      await sleep(1_000)
    },
  },
  killForge: {
    excuse: 'nothing',
    async run(world, random) {
      const pending = await pendingImport(world, random)
      if (pending === null) return
      const before = new Set(world.started.processes())
      const reply = world.perform(pending)
      for (let round = 0; round < 40; round += 1) {
        const forge = world.started.processes().find((pid) => !before.has(pid))
        if (forge !== undefined) {
          await sleep(random.below(200))
          signal(forge, 'SIGKILL')
          break
        }
        await sleep(10)
      }
      const { status, body } = await reply
      // It may have been done before.
      if (status !== 200 && status !== 422) throw new Error(`${status} ${JSON.stringify(body)}`)
    },
  },
  killNode: {
    excuse: 'failures',
    async run(world, random) {
      const pending = await pendingImport(world, random)
      const before = world.state
      const reply = pending === null ? null : world.perform(pending).catch(() => null)
      await sleep(random.below(600))
      await killAll(world.started)
      await world.started.ended
      await reply
      await world.start()
      if (world.state === before) await adopt(world, pending)
    },
  },
  hang: {
    // Others lose nothing but a connection that is just being made.
    excuse: 'connections',
    async run(world) {
      const headers = { connection: 'close' }
      const { status } = await world.client.query(`${HANGS}/p/predict`, ENDLESS, headers)
      if (status !== 504 && status !== 503) throw new Error(`a run without end: ${status}`)
      await sleep(3_000)
      await world.well()
      const pardon = await world.client.switchTo(HANGS, 'g1')
      if (pardon.status !== 200) throw new Error(`the pardon: ${JSON.stringify(pardon.body)}`)
    },
  },
  fillDisk: {
    excuse: 'nothing',
    async run(world, random) {
      if (world.disk === null) return
      world.disk.keepFull()
      const pending = await pendingImport(world, random)
      try {
        if (pending !== null) await fullDisk(world, pending)
        await sleep(500 + random.below(1_500))
      } finally {
        world.disk.release()
      }
    },
  },
  slowClients: {
    excuse: 'nothing',
    async run(world, random) {
      const sockets: Socket[] = []
      const firsts = ['', 'POST /public/api/v1/', `POST /x HTTP/1.1\r\nHost: x\r\n`]
      for (let made = 0; made < SLOW_CLIENTS; made += 1) {
        const socket = connect({ port: world.queryPort, host: '127.0.0.1' })
        socket.on('error', () => {}).write(random.pick(firsts))
        sockets.push(socket)
      }
      await sleep(500 + random.below(2_000))
      for (const socket of sockets) socket.destroy()
    },
  },
  fuzz: {
    excuse: 'nothing',
    async run(world, random) {
      const path = `/public/api/v1/${GUARD}/p/predict`
      for (let sent = 0; sent < FUZZ_REQUESTS; sent += 1) {
        const { bytes } = requestOf(random, { targets: [{ path, body: BODY }], keys: [] })
        await visit(world.queryPort, manneredVisit(random, bytes, 30))
      }
    },
  },
}

async function fullDisk(world: World, pending: Operation): Promise<void> {
  const { status, body } = await world.perform(pending)
  if (status !== 200 && status !== 507) throw new Error(`${status} ${JSON.stringify(body)}`)
}
