/** Opens the admin port: the routes on node:http, and the facts of the node that /metrics shows. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { wallMs } from '../core/base/clock.ts'
import type { Logger } from '../core/base/logger.ts'
import type { Config } from '../core/config/config.ts'
import { LIMITS } from '../core/config/limits.ts'
import { BodyBudget } from '../core/http/body-budget.ts'
import { NodeHttpServer } from '../core/http/node-http.ts'
import type { NodeInfo, ProcessInfo } from '../core/metrics/prometheus.ts'
import type { MetricsStore } from '../core/metrics/store.ts'
import type { Operations } from './operations/operations.ts'
import { createAdminApi } from './routes/admin-api.ts'
import type { Supervisor } from './serving/supervisor.ts'
import type { Home } from './store/home.ts'
import type { Certificates } from './tls/certificates.ts'

/** Operators and their scripts; a port that can run code is no place for crowds. */
const CONNECTIONS_MAX = 256
const BODY_BYTES_TOTAL_MAX = 16 * LIMITS.adminBodyBytesMax

export interface AdminOptions {
  readonly config: Config
  readonly operations: Operations
  readonly metrics: MetricsStore
  readonly supervisor: Supervisor
  readonly home: Home
  readonly certificates: Certificates
  readonly version: string
  readonly logger: Logger
}

export function openAdminApi(options: AdminOptions): Promise<NodeHttpServer> {
  const { config, operations, metrics, supervisor, home, certificates, version, logger } = options
  const startedAtS = wallMs() / 1000 - process.uptime()
  const handler = createAdminApi({
    operations,
    metrics,
    home,
    version,
    logger,
    serving: supervisor,
    certificates,
    nodeInfo: () => nodeInfo(options, startedAtS),
    notAliveFile: notAliveFile(home),
    metricsPublic: config.metricsPublic,
  })
  return NodeHttpServer.listen(
    {
      host: config.adminHost,
      port: config.adminPort,
      tlsCert: null,
      tlsKey: null,
      tls: certificates.adminMaterial(),
      connectionsMax: Math.min(CONNECTIONS_MAX, config.connectionsMax),
      budget: new BodyBudget(BODY_BYTES_TOTAL_MAX),
      version,
      logger,
    },
    handler,
  )
}

/** Both listeners look at it, so its name is in one place. */
export function notAliveFile(home: Home): string {
  return join(home.root, 'apinode-not-alive.txt')
}

function nodeInfo(options: AdminOptions, startedAtS: number): NodeInfo {
  const { supervisor, operations, certificates, version } = options
  const { pid, replaced } = supervisor.status()
  const generations = supervisor.observed()?.generations ?? []
  const residentBytes = process.memoryUsage.rss()
  const processes: ProcessInfo[] = [{ name: 'control', startedAtS, residentBytes }]
  const serveStartedMs = supervisor.startedOn()
  if (pid !== null && serveStartedMs !== null) {
    const serve = { name: 'serve', startedAtS: serveStartedMs / 1000 }
    processes.push({ ...serve, residentBytes: residentBytesOf(pid) })
  }
  return {
    version,
    nodeVersion: process.versions.node,
    uptimeS: process.uptime(),
    services: operations.listServices().length,
    generationsLoaded: generations.filter(({ state }) => state === 'warm' || state === 'active')
      .length,
    serveReplacements: replaced,
    processes,
    certificates: Object.entries(certificates.views()).map(([listener, { notAfter }]) => {
      return { listener, notAfterS: notAfter / 1000 }
    }),
  }
}

/** Linux only; a file of the kernel, so reading it waits for no disk. */
function residentBytesOf(pid: number): number | null {
  try {
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return kib === undefined ? null : Number(kib) * 1024
  } catch {
    return null
  }
}
