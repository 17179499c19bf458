/** What the endpoints of a bundle share, made before the first of them is forged. */

import type { EnvironmentPlan, TablePlan } from '../../core/bundle/plan.ts'
import type { ManifestTable } from '../../core/bundle/table-schema.ts'

export interface Prepared {
  readonly manifestTables: readonly ManifestTable[]
  readonly tables: readonly TablePlan[]
  /** Null: the node's interpreter as it is. */
  readonly environment: EnvironmentPlan | null
  /** Database file of the embedded SQL, relative; null: no endpoint asks it, or it has no tables. */
  readonly duckdb: string | null
  /** Files that were made, relative. */
  readonly made: readonly string[]
}
