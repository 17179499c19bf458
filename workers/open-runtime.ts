/** Opens what runs an endpoint: by its type, so that no thread loads what it does not need. */

import { assertNever } from '../core/base/assert.ts'
import type { EndpointPlan } from '../core/bundle/plan.ts'
import type { Runtime, RuntimeContext } from './runtime.ts'

/** Throws an AppError that says what is wrong with the endpoint, or with this machine. */
export async function openRuntime(plan: EndpointPlan, context: RuntimeContext): Promise<Runtime> {
  switch (plan.type) {
    case 'STD_PREDICTION': {
      const { openOnnx } = await import('./onnx/runtime.ts')
      return openOnnx(plan, context)
    }
    case 'PYTHON_FUNCTION':
    case 'CUSTOM_PREDICTION': {
      const { openPython } = await import('./python/runtime.ts')
      return openPython(plan, context)
    }
    case 'R_FUNCTION':
    case 'CUSTOM_R_PREDICTION': {
      const { openR } = await import('./r/runtime.ts')
      return openR(plan, context)
    }
    case 'SQL_QUERY': {
      const { openSql } = await import('./sql/runtime.ts')
      return openSql(plan, context)
    }
    case 'DATASET_LOOKUP': {
      const { openLookup } = await import('./lookup/runtime.ts')
      return openLookup(plan, context)
    }
    default:
      return assertNever(plan)
  }
}
