/** Opens the admin port: the routes on node:http, and the facts of the node that /metrics shows. */

import { join } from 'node:path'
import { wallMs } from '../core/base/clock.ts'
import type { Logger } from '../core/base/logger.ts'
import type { Config } from '../core/config/config.ts'
import { LIMITS } from '../core/config/limits.ts'
import { BodyBudget } from '../core/http/body-budget.ts'
import { NodeHttpServer } from '../core/http/node-http.ts'
import type { NodeInfo, ProcessInfo } from '../core/metrics/prometheus.ts'
import type { MetricsStore } from '../core/metrics/store.ts'
import type { ReplaceReason, ServingProcess } from './contracts.ts'
import type { Operations } from './operations/operations.ts'
import { createAdminApi } from './routes/admin-api.ts'
import type { Fleet } from './serving/fleet.ts'
import type { Home } from './store/home.ts'
import type { Certificates } from './tls/certificates.ts'

/** Operators and their scripts; a port that can run code is no place for crowds. */
const CONNECTIONS_MAX = 256
const BODY_BYTES_TOTAL_MAX = 16 * LIMITS.adminBodyBytesMax

export interface AdminOptions {
  readonly config: Config
  readonly operations: Operations
  readonly metrics: MetricsStore
  readonly fleet: Fleet
  readonly home: Home
  readonly certificates: Certificates
  readonly version: string
  readonly logger: Logger
}

export function openAdminApi(options: AdminOptions): Promise<NodeHttpServer> {
  const { config, operations, metrics, fleet, home, certificates, version, logger } = options
  const startedAtS = wallMs() / 1000 - process.uptime()
  const handler = createAdminApi({
    operations,
    metrics,
    home,
    version,
    logger,
    serving: fleet,
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
  const { fleet, operations, certificates, version } = options
  const { replacements, processes, stopped } = fleet.status()
  const generations = fleet.observed()?.generations ?? []
  const residentBytes = process.memoryUsage.rss()
  const control = { name: 'control', pid: process.pid, startedAtS, residentBytes }
  return {
    version,
    nodeVersion: process.versions.node,
    uptimeS: process.uptime(),
    services: operations.listServices().length,
    imports: operations.imports.count,
    generationsLoaded: generations.filter(({ state }) => state === 'warm' || state === 'active')
      .length,
    generationsCold: operations.coldCount(),
    serveReplacements: { ...NO_REPLACEMENTS, ...replacements },
    serveProcesses: countStates(processes),
    stoppedEndpoints: stopped,
    processes: [control, ...processes.flatMap(processInfo)],
    certificates: Object.entries(certificates.views()).map(([listener, { notAfter }]) => {
      return { listener, notAfterS: notAfter / 1000 }
    }),
  }
}

/** A series that is there from the start shows its first increase too. */
const NO_REPLACEMENTS: Readonly<Record<ReplaceReason, number>> = {
  died: 0,
  crashed: 0,
  hung: 0,
  silent: 0,
  memory: 0,
  asked: 0,
  certificates: 0,
}

function countStates(processes: readonly ServingProcess[]): Record<string, number> {
  const counts = { starting: 0, serving: 0, retiring: 0 }
  for (const { state } of processes) counts[state] += 1
  return counts
}

function processInfo({ pid, startedOn, residentBytes }: ServingProcess): ProcessInfo[] {
  return pid === null ? [] : [{ name: 'serve', pid, startedAtS: startedOn / 1000, residentBytes }]
}
