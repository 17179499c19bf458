/** How many runs of an endpoint the io thread has at once: its children, or its connections. */

import { assertNever } from '../base/assert.ts'
import type { EndpointPlan, GenerationPlan } from '../bundle/plan.ts'
import type { RuntimeSettings } from '../config/runtimes.ts'

/** Queries of the embedded database: it has threads of its own, and more would only take turns. */
const EMBEDDED_SLOTS = 4

export function slotsOf(
  plan: EndpointPlan,
  generation: GenerationPlan,
  settings: RuntimeSettings,
): number {
  switch (plan.type) {
    case 'PYTHON_FUNCTION':
    case 'CUSTOM_PREDICTION':
      return plan.python.children ?? settings.children
    case 'R_FUNCTION':
    case 'CUSTOM_R_PREDICTION':
      return plan.r.children ?? settings.children
    case 'SQL_QUERY': {
      const { connection } = plan.sql
      return connection === null ? EMBEDDED_SLOTS : poolSize([connection], settings)
    }
    case 'DATASET_LOOKUP': {
      const asked = new Set(plan.lookup.steps.map(({ table }) => table))
      const names = (generation.tables ?? []).flatMap(({ name, database }) =>
        database !== null && asked.has(name) ? [database.connection] : [],
      )
      return poolSize(names, settings)
    }
    // The buffers that its rows are put into are for one run; while it waits, requests gather.
    case 'STD_PREDICTION':
      return 1
    default:
      return assertNever(plan)
  }
}

/** Of several connections the scarcest; one that the node does not know can only say so. */
function poolSize(names: readonly string[], { connections }: RuntimeSettings): number {
  const sizes = names.flatMap(
    (name) => connections.find((connection) => connection.name === name)?.poolSize ?? [],
  )
  return sizes.length === 0 ? 1 : Math.min(...sizes)
}
