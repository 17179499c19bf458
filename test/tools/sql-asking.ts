/** Opens SQL endpoints as a thread does, and asks them one question at a time. */

import type { Test } from 'tap'
import type { SqlEndpointPlan } from '../../core/bundle/plan.ts'
import type { RuntimeStatus } from '../../core/children/spec.ts'
import type { ConnectionSettings } from '../../core/config/runtimes.ts'
import type { Runtime } from '../../workers/runtime.ts'
import { openSql } from '../../workers/sql/runtime.ts'
import type { Dialect } from '../../workers/sql/scan.ts'
import { type ParameterSource, planStatements } from '../../workers/sql/statements.ts'
import { NO_RUNTIMES } from './runtimes.ts'

export interface SqlSource {
  readonly query: string
  readonly parameters?: readonly ParameterSource[]
  readonly timeoutMs?: number
  readonly maxRows?: number
  readonly commit?: boolean
  /** Null: the embedded database. */
  readonly connection?: ConnectionSettings | null
  readonly duckdb?: string | null
  readonly directory?: string
}

export interface Asked {
  readonly code: string | null
  readonly detail: string
  readonly columns: readonly { readonly name: string; readonly type: string }[]
  readonly rows: readonly (readonly (string | null)[])[]
  readonly updatedRows: number | null
  readonly text: string
}

export class SqlEndpoint {
  readonly runtime: Runtime
  readonly statuses: readonly RuntimeStatus[]

  constructor(runtime: Runtime, statuses: readonly RuntimeStatus[]) {
    this.runtime = runtime
    this.statuses = statuses
  }

  async ask(body: unknown = '', waitedMs = 0): Promise<Asked> {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const bytes = new TextEncoder().encode(text)
    const outcome = await this.runtime.run({
      endpoint: 0,
      verb: 'single',
      bytes,
      ends: Uint32Array.of(bytes.length),
      waitUs: Uint32Array.of(waitedMs * 1_000),
    })
    if (outcome.kind !== 'answers') throw new Error(JSON.stringify(outcome))
    const [answer = ''] = outcome.bodies
    const failure = outcome.failures?.[0]
    const {
      columns = [],
      rows = [],
      updatedRows = null,
    } = failure === undefined ? JSON.parse(String(answer)) : {}
    return {
      code: failure?.code ?? null,
      detail: failure?.detail ?? '',
      columns,
      rows,
      updatedRows,
      text: String(answer),
    }
  }
}

function sqlPlan(source: SqlSource): SqlEndpointPlan {
  const { connection = null } = source
  const dialect: Dialect = connection?.kind ?? 'duckdb'
  const planned = planStatements(source.query, source.parameters ?? [], dialect)
  if (planned.kind === 'faults') throw new Error(JSON.stringify(planned.faults))
  return {
    id: 'ask',
    type: 'SQL_QUERY',
    modelRef: 'ask',
    timeoutMs: source.timeoutMs ?? 10_000,
    queue: { maxRequests: 10, maxBytes: 10_000_000 },
    worstBatchMs: 1,
    warmUp: [],
    sql: {
      connection: connection?.name ?? null,
      statements: planned.statements,
      maxRows: source.maxRows ?? 10_000,
      commit: source.commit ?? false,
      duckdb: source.duckdb ?? null,
    },
  }
}

export async function openEndpoint(
  t: Pick<Test, 'teardown'>,
  source: SqlSource,
): Promise<SqlEndpoint> {
  const statuses: RuntimeStatus[] = []
  const { connection = null } = source
  const runtime = await openSql(sqlPlan(source), {
    serviceId: 's1',
    generationId: 'g1',
    directory: source.directory ?? '/nowhere',
    tables: [],
    settings: { ...NO_RUNTIMES, connections: connection === null ? [] : [connection] },
    children: null,
    spares: 0,
    report: (status) => statuses.push(status),
    log: () => {},
  })
  t.teardown(() => runtime.release())
  return new SqlEndpoint(runtime, statuses)
}
