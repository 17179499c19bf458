/**
 * The systems of the full report: the node and its peers, each started with the same model file the
 * way its users would, and asked the same question before anything is timed.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { callerHeaders, startBareNode } from '../bare-node.ts'
import { askFor, type Question, startConstant } from '../constant.ts'
import { type Environment, programOf } from '../environments.ts'
import { deployService } from '../node-server.ts'
import { ROOT } from '../paths.ts'
import { type Server, startServer } from '../servers.ts'
import { bundleFile } from '../workloads/bundle.ts'
import { type Protocol, questionOf } from '../workloads/protocols.ts'
import { descriptionOf, type Row, rowsOf, type Workload } from '../workloads/workloads.ts'
import type { SystemName } from './names.ts'

export interface System {
  readonly name: string
  readonly protocol: Protocol
  readonly server: Server
  readonly headers: Readonly<Record<string, string>>
  /** Where the question goes, if not to the path of its protocol. */
  readonly path: string | null
  /** Of a system that computes while nobody asks: stops it while another one is measured. */
  readonly pause: ((paused: boolean) => void) | null
}

/** Why a peer takes no part; its message is one line for people. */
export class PeerLacking extends Error {}

export function orderOf(system: System, workload: Workload, rows: readonly Row[]): Question {
  const { path, body } = questionOf(system.protocol, workload, rows)
  return { url: system.server.url + (system.path ?? path), headers: system.headers, body }
}

/** The node's own bytes by a bare uWebSockets.js: the limit beside the systems. */
export async function startLimit(node: System, workload: Workload): Promise<System> {
  const server = await startConstant(orderOf(node, workload, rowsOf(workload, 1)))
  return { ...OWN, name: 'constant', server }
}

type Start = (workload: Workload) => Promise<System>

export function startSystem(name: SystemName, workload: Workload): Promise<System> {
  return STARTS[name](workload)
}

const OWN = { protocol: 'own', headers: {}, path: null, pause: null } as const
const FASTAPI = { ...OWN, name: 'fastapi', environment: 'fastapi' } as const
const LITSERVE = { ...OWN, name: 'litserve', environment: 'fastapi', path: '/predict' } as const
const PYTRITON = { ...OWN, name: 'pytriton', environment: 'pytriton', protocol: 'v2' } as const

const STARTS: Readonly<Record<SystemName, Start>> = {
  node: (workload) => startNode('node', workload),
  'node-all-cores': (workload) => startNode('node-all-cores', workload),
  fastify: (workload) => startNodePeer('fastify', workload),
  'fastify-piscina': (workload) => startNodePeer('fastify-piscina', workload),
  fastapi: (workload) => startPython(workload, FASTAPI),
  litserve: async (workload) => paused(await startPython(workload, LITSERVE)),
  bentoml: startBentoml,
  mlserver: startMlserver,
  pytriton: (workload) => startPython(workload, PYTRITON),
}

/** As it comes; or with no core left for its event loop alone, as its peers run. */
async function startNode(name: 'node' | 'node-all-cores', workload: Workload): Promise<System> {
  const allCores = ['--model-cores', String(availableParallelism())]
  const server = await startBareNode({ args: name === 'node' ? [] : allCores })
  try {
    await deployService(server.admin, 'bench', bundleFile(workload))
    return { ...OWN, name, server, headers: await callerHeaders(server.admin) }
  } catch (error) {
    await server.stop()
    throw error
  }
}

async function startNodePeer(name: string, workload: Workload): Promise<System> {
  const args = [descriptionOf(workload)]
  return {
    ...OWN,
    name,
    server: await startServer({ name, script: `bench/peers/${name}.ts`, args }),
  }
}

/** It looks for work all the time, which takes a tenth of a core from whoever is measured. */
function paused(system: System): System {
  const { server } = system
  const pause = (isPaused: boolean) => {
    try {
      process.kill(-server.pid, isPaused ? 'SIGSTOP' : 'SIGCONT')
    } catch {
      // It has ended: the next load says so.
    }
  }
  return { ...system, pause }
}

function program(environment: Environment, name: string): string {
  const path = programOf(environment, name)
  if (path !== null) return path
  throw new PeerLacking('its Python environment is not there: npm run bench -- --setup')
}

/** Where a peer will listen, and the question by which it is known to be ready. */
async function listening(workload: Workload, protocol: Protocol, path: string | null) {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const question = questionOf(protocol, workload, rowsOf(workload, 1))
  const order = { url: url + (path ?? question.path), headers: {}, body: question.body }
  return { port, listens: { url, answers: () => askFor(url, order).then(() => true) } }
}

interface OwnProgram {
  readonly name: 'fastapi' | 'litserve' | 'pytriton'
  readonly environment: Environment
  readonly protocol: Protocol
  readonly path: string | null
}

/** A Python program of the benchmark that is told its port. */
async function startPython(workload: Workload, own: OwnProgram): Promise<System> {
  const { name, environment, protocol, path } = own
  const interpreter = program(environment, 'python')
  const script = `bench/peers/${name}_onnx.py`
  const { port, listens } = await listening(workload, protocol, path)
  const args = [descriptionOf(workload), String(port)]
  const server = await startServer({ name, script, interpreter, args, listens })
  return { ...OWN, protocol, path, name, server }
}

async function startBentoml(workload: Workload): Promise<System> {
  const { port, listens } = await listening(workload, 'own', null)
  const server = await startServer({
    name: 'bentoml',
    script: null,
    interpreter: program('bentoml', 'bentoml'),
    args: ['serve', 'bentoml_onnx:Bench', '--host', '127.0.0.1', '--port', String(port)],
    cwd: join(ROOT, 'bench/peers'),
    env: { DESCRIPTION: descriptionOf(workload), BENTOML_DO_NOT_TRACK: 'True' },
    listens,
  })
  return { ...OWN, name: 'bentoml', server }
}

/** It reads its settings from a folder, and leaves files of its own there. */
async function startMlserver(workload: Workload): Promise<System> {
  const interpreter = program('mlserver', 'mlserver')
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-mlserver-'))
  const removeFolder = () => rmSync(folder, { recursive: true, force: true })
  try {
    const { port, listens } = await listening(workload, 'v2', null)
    const [grpc, metrics] = [await freePort(), await freePort()]
    const ports = { http_port: port, grpc_port: grpc, metrics_port: metrics }
    const settings = { debug: false, host: '127.0.0.1', ...ports }
    writeFileSync(join(folder, 'settings.json'), JSON.stringify(settings))
    const model = { name: 'bench', implementation: 'mlserver_onnx.OnnxModel' }
    writeFileSync(join(folder, 'model-settings.json'), JSON.stringify(model))
    const env = { DESCRIPTION: descriptionOf(workload), PYTHONPATH: join(ROOT, 'bench/peers') }
    const args = ['start', '.']
    const options = { name: 'mlserver', script: null, interpreter, args, env, cwd: folder, listens }
    const server = await startServer(options)
    const stop = () => server.stop().finally(removeFolder)
    return { ...OWN, protocol: 'v2', name: 'mlserver', server: { ...server, stop } }
  } catch (error) {
    removeFolder()
    throw error
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address()
      probe.close(() => {
        if (typeof address === 'object' && address !== null) resolve(address.port)
        else reject(new Error('no port is free'))
      })
    })
  })
}
