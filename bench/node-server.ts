/**
 * The node under test: the built program on a data directory of its own, authentication and metrics
 * on, the bench model deployed through the admin API as an operator would.
 */

import { randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT } from './paths.ts'
import { PREDICT_PATH } from './peers/ready.ts'
import { type Server, startServer } from './servers.ts'

const SERVICE = 'bench'
const GENERATIONS = ['v1', 'v2'] as const
type Generation = (typeof GENERATIONS)[number]

export interface NodeServer extends Server {
  /** What a caller must send along. */
  readonly headers: Readonly<Record<string, string>>
  /** Makes a generation the active one; returns when the node says it is. */
  switchTo(generation: Generation): Promise<void>
  /** Makes a service of one generation; the key of `headers` opens it. */
  deploy(serviceId: string, archive: string): Promise<void>
}

export async function startNode(python: string): Promise<NodeServer> {
  const home = mkdtempSync(join(tmpdir(), 'switchyard-bench-'))
  const removeHome = () => rmSync(home, { recursive: true, force: true })
  try {
    return await deployedNode(home, python, removeHome)
  } catch (error) {
    removeHome()
    throw error
  }
}

async function deployedNode(
  home: string,
  python: string,
  removeHome: () => void,
): Promise<NodeServer> {
  const adminKey = `bench-${randomUUID()}`
  const server = await startServer({
    name: 'node',
    script: 'core/main.ts',
    args: ['--no-demo'],
    env: {
      SWITCHYARD_HOME: home,
      SWITCHYARD_HOST: '127.0.0.1',
      SWITCHYARD_PORT: '0',
      SWITCHYARD_ADMIN_PORT: '0',
      SWITCHYARD_ADMIN_KEY: adminKey,
      SWITCHYARD_PYTHON: python,
    },
  })
  const stop = () => server.stop().finally(removeHome)
  const admin = adminClient(server, adminKey)
  try {
    const key = await deploy(admin)
    const headers = { Authorization: `Bearer ${key}` }
    return {
      ...server,
      stop,
      headers,
      switchTo: (generation) => switchTo(admin, generation),
      deploy: (serviceId, archive) => deployService(admin, serviceId, archive),
    }
  } catch (error) {
    await stop()
    throw error
  }
}

type AdminCall = (path: string, body: object | FormData | null) => Promise<string>

function adminClient(server: Server, key: string): AdminCall {
  return async (path, body) => {
    const json = body !== null && !(body instanceof FormData)
    const response = await fetch(`${server.adminUrl}/admin/api${path}`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${key}`,
        ...(json ? { 'content-type': 'application/json' } : {}),
      },
      ...(body === null ? {} : { body: body instanceof FormData ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`POST ${path}: ${response.status} ${text}`)
    return text
  }
}

async function deployService(admin: AdminCall, serviceId: string, archive: string): Promise<void> {
  await admin('/services', { serviceId })
  const form = new FormData()
  form.append('file', new Blob([readFileSync(archive)]), 'v1.zip')
  await admin(`/services/${serviceId}/generations`, form)
  await admin(`/services/${serviceId}/generations/v1/switch`, null)
}

/** Returns a key that may query all services. */
async function deploy(admin: AdminCall): Promise<string> {
  await admin('/services', { serviceId: SERVICE })
  for (const generation of GENERATIONS) {
    const name = `small-${generation}.zip`
    const form = new FormData()
    form.append('file', new Blob([readFileSync(join(ROOT, 'bench/models', name))]), name)
    await admin(`/services/${SERVICE}/generations`, form)
  }
  await switchTo(admin, 'v1')
  const answer: { key: string } = JSON.parse(await admin('/auth/keys', { label: 'bench' }))
  return answer.key
}

async function switchTo(admin: AdminCall, generation: Generation): Promise<void> {
  await admin(`/services/${SERVICE}/generations/${generation}/switch`, null)
}

/** The body that every measurement sends. */
export function benchBody(): string {
  const { body } = JSON.parse(readFileSync(join(ROOT, 'bench/models/small.json'), 'utf8'))
  return JSON.stringify(body)
}

export function predictUrl(server: Server): string {
  return server.url + PREDICT_PATH
}
