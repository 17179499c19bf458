/** Predictions of ONNX models, as what runs an endpoint. */

import type { OnnxEndpointPlan } from '../../core/bundle/plan.ts'
import type { Runtime, RuntimeContext } from '../runtime.ts'
import { openPredictor } from './predictor.ts'

export function openOnnx(plan: OnnxEndpointPlan, context: RuntimeContext): Promise<Runtime> {
  return openPredictor(context.directory, context, plan)
}
