/**
 * One pool for each database in a thread, whoever asks: endpoints and lookups of a generation that
 * use the same connection share its sessions.
 */

import type { RuntimeStatus } from '../../core/children/spec.ts'
import type { ConnectionSettings } from '../../core/config/runtimes.ts'
import { mysqlDriver } from './mysql.ts'
import { Pool } from './pool.ts'
import { postgresDriver } from './postgres.ts'
import type { Driver } from './session.ts'

export interface PoolLease {
  readonly pool: Pool
  /** When the last lease is given back, the sessions are closed. */
  release(): void
}

interface Shared {
  readonly pool: Pool
  readonly reports: Set<(status: RuntimeStatus) => void>
  newest: RuntimeStatus | null
}

/** What a pool is made of; its key says when two askers mean the same one. */
export interface PoolSource {
  readonly key: string
  readonly subject: string
  readonly size: number
  readonly makeDriver: () => Driver
}

const pools = new Map<string, Shared>()

export function leasePool(source: PoolSource, report: (status: RuntimeStatus) => void): PoolLease {
  const shared = pools.get(source.key) ?? share(source)
  // One of its own, so that two leases with the same listener count as two.
  const listener = (status: RuntimeStatus): void => report(status)
  shared.reports.add(listener)
  if (shared.newest !== null) listener(shared.newest)
  const release = (): void => {
    if (!shared.reports.delete(listener) || shared.reports.size > 0) return
    pools.delete(source.key)
    shared.pool.close()
  }
  return { pool: shared.pool, release }
}

function share(source: PoolSource): Shared {
  const reports = new Set<(status: RuntimeStatus) => void>()
  const tell = (status: RuntimeStatus): void => {
    shared.newest = status
    for (const report of reports) report(status)
  }
  const { subject, size } = source
  const pool = new Pool({ subject, size, driver: source.makeDriver(), report: tell })
  const shared: Shared = { pool, reports, newest: null }
  pools.set(source.key, shared)
  return shared
}

export function connectionSource(settings: ConnectionSettings): PoolSource {
  return {
    key: JSON.stringify(settings),
    subject: `connection ${settings.name}`,
    size: settings.poolSize,
    makeDriver: () =>
      settings.kind === 'postgresql' ? postgresDriver(settings) : mysqlDriver(settings),
  }
}
