/**
 * A node as the benchmarks start it: the built program on a data directory of its own or on a given
 * one, authentication and metrics on, without the demo. Everything is deployed through the admin
 * API, as an operator would.
 */

import { randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { type Server, startServer } from './servers.ts'

interface NodeOptions {
  readonly python?: string
  /** Kept at the end; default: a new one that is removed. */
  readonly home?: string
  readonly args?: readonly string[]
}

/** Sends JSON, a form or nothing; fails on any answer that is no success. */
export type AdminCall = (
  path: string,
  body: object | FormData | null,
  method?: 'GET' | 'POST' | 'PATCH',
) => Promise<string>

export interface BareNode extends Server {
  readonly admin: AdminCall
}

export async function startBareNode(options: NodeOptions = {}): Promise<BareNode> {
  const { python, args = [] } = options
  const home = options.home ?? mkdtempSync(join(tmpdir(), 'switchyard-bench-'))
  const removeHome = () => {
    process.off('exit', removeHome)
    if (options.home === undefined) rmSync(home, { recursive: true, force: true })
  }
  process.on('exit', removeHome)
  const adminKey = `bench-${randomUUID()}`
  try {
    const server = await startServer({
      name: 'node',
      script: 'core/main.ts',
      args: ['--no-demo', ...args],
      env: {
        SWITCHYARD_HOME: home,
        SWITCHYARD_HOST: '127.0.0.1',
        SWITCHYARD_PORT: '0',
        SWITCHYARD_ADMIN_PORT: '0',
        SWITCHYARD_ADMIN_KEY: adminKey,
        ...(python === undefined ? {} : { SWITCHYARD_PYTHON: python }),
      },
    })
    const stop = () => server.stop().finally(removeHome)
    return { ...server, stop, admin: adminClient(server, adminKey) }
  } catch (error) {
    removeHome()
    throw error
  }
}

function adminClient(server: Server, key: string): AdminCall {
  return async (path, body, method = 'POST') => {
    const json = body !== null && !(body instanceof FormData)
    const response = await fetch(`${server.adminUrl}/admin/api${path}`, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(json ? { 'content-type': 'application/json' } : {}),
      },
      ...(body === null ? {} : { body: body instanceof FormData ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
    return text
  }
}

/** An archive as a generation of a service that exists. */
export async function upload(admin: AdminCall, serviceId: string, archive: string): Promise<void> {
  const form = new FormData()
  form.append('file', new Blob([readFileSync(archive)]), basename(archive))
  await admin(`/services/${serviceId}/generations`, form)
}

export async function switchService(
  admin: AdminCall,
  serviceId: string,
  generation: string,
): Promise<void> {
  await admin(`/services/${serviceId}/generations/${generation}/switch`, null)
}

/** Of the process that answers queries, where there is one. */
export async function servingPid(admin: AdminCall): Promise<number> {
  const health: { details: { serving: { processes: { pid: number }[] } } } = JSON.parse(
    await admin('/health', null, 'GET'),
  )
  return health.details.serving.processes[0]?.pid ?? Number.NaN
}

/** The headers of a caller who may query all services. */
export async function callerHeaders(admin: AdminCall): Promise<Record<string, string>> {
  const answer: { key: string } = JSON.parse(await admin('/auth/keys', { label: 'bench' }))
  return { Authorization: `Bearer ${answer.key}` }
}
