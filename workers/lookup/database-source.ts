/**
 * A table that is in a database, asked row by row through the pool that the connection has in this
 * thread anyway. Two rows are asked for: the second one says that the key is not unique.
 */

import { AppError, type ErrorCode, messageOf } from '../../core/base/errors.ts'
import type { TablePlan } from '../../core/bundle/plan.ts'
import type { RuntimeContext } from '../runtime.ts'
import type { Source } from './lookups.ts'

export async function openDatabaseSource(
  table: TablePlan,
  context: RuntimeContext,
): Promise<Source> {
  const { openTableReader } = await import('../sql/table-reader.ts')
  return openTableReader(table, context)
}
