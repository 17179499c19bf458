/** The node that the figures are about: the small model in two generations, and more on request. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type AdminCall, callerHeaders, startBareNode, switchService, upload } from './bare-node.ts'
import { ROOT } from './paths.ts'
import { PREDICT_PATH } from './peers/ready.ts'
import type { Server } from './servers.ts'

const SERVICE = 'bench'
const GENERATIONS = ['v1', 'v2'] as const
type Generation = (typeof GENERATIONS)[number]

export interface NodeServer extends Server {
  /** What a caller must send along. */
  readonly headers: Readonly<Record<string, string>>
  /** Makes a generation the active one; returns when the node says it is. */
  switchTo(generation: Generation): Promise<void>
  /** Which queries are logged: `off`, `sample:0.01`, `all`. */
  logQueries(mode: string): Promise<void>
  /** Makes a service of one generation; the key of `headers` opens it. */
  deploy(serviceId: string, archive: string): Promise<void>
}

export async function startNode(python: string): Promise<NodeServer> {
  const node = await startBareNode({ python })
  const { admin } = node
  try {
    const headers = await deploySmall(admin)
    return {
      ...node,
      headers,
      switchTo: (generation) => switchService(admin, SERVICE, generation),
      logQueries: async (mode) => {
        await admin(`/services/${SERVICE}/settings`, { queryLog: mode }, 'PATCH')
      },
      deploy: (serviceId, archive) => deployService(admin, serviceId, archive),
    }
  } catch (error) {
    await node.stop()
    throw error
  }
}

/** The archive is called after its generation. */
export async function deployService(
  admin: AdminCall,
  serviceId: string,
  archive: string,
): Promise<void> {
  await admin('/services', { serviceId })
  await upload(admin, serviceId, archive)
  await switchService(admin, serviceId, 'v1')
}

async function deploySmall(admin: AdminCall): Promise<Record<string, string>> {
  await admin('/services', { serviceId: SERVICE })
  for (const generation of GENERATIONS) {
    await upload(admin, SERVICE, join(ROOT, 'bench/models', `small-${generation}.zip`))
  }
  await switchService(admin, SERVICE, 'v1')
  return callerHeaders(admin)
}

/** The body that every measurement sends. */
export function benchBody(): string {
  const { body } = JSON.parse(readFileSync(join(ROOT, 'bench/models/small.json'), 'utf8'))
  return JSON.stringify(body)
}

export function predictUrl(server: Server): string {
  return server.url + PREDICT_PATH
}
