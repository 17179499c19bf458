/**
 * A table that is in a database, asked through the pool that its connection has in this thread.
 * Keys are compared by the database, by its own rules.
 */

import { AppError, messageOf } from '../../core/base/errors.ts'
import type { ColumnType, TablePlan } from '../../core/bundle/plan.ts'
import type { RuntimeContext } from '../runtime.ts'
import { reportTo, usableConnection } from '../sql/connections.ts'
import { openTableReader, type TableReader } from '../sql/table-reader.ts'
import { CELL_READERS, jsonString } from './cells.ts'
import type { LookupFailure, Source } from './lookups.ts'
import type { Found } from './table.ts'

/** Throws ERR_CONNECTION_UNUSABLE; a database that is down is told when it is asked. */
export function openDatabaseSource(table: TablePlan, context: RuntimeContext): Source {
  const { connections } = context.settings
  const name = table.database?.connection ?? ''
  const settings = usableConnection(connections, name, context.serviceId)
  const reader = openTableReader(settings, table, reportTo(context))
  return {
    find: (parts, endMs) => find(reader, table, { parts, endMs }),
    close: async () => reader.release(),
  }
}

interface Asked {
  readonly parts: readonly string[]
  readonly endMs: number
}

async function find(
  reader: TableReader,
  { columns }: TablePlan,
  { parts, endMs }: Asked,
): Promise<Found | LookupFailure> {
  try {
    const [row, second] = await reader.rows(parts, endMs)
    if (row === undefined) return { kind: 'missing' }
    // How many there are is not asked for: a database would have to count them.
    if (second !== undefined) return { kind: 'multiple', rows: null }
    return columns.map(({ type }, i) => cellOf(type, row[i] ?? null))
  } catch (error) {
    if (!(error instanceof AppError)) {
      return { kind: 'failed', code: 'ERR_QUERY_FAILED', detail: messageOf(error) }
    }
    return { kind: 'failed', code: error.code, detail: error.detail ?? '' }
  }
}

/** What does not look like its type is passed on as the text that it is. */
function cellOf(type: ColumnType, text: string | null): string {
  return text === null ? 'null' : (CELL_READERS[type](text) ?? jsonString(text))
}
