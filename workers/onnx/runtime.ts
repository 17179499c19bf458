/** Predictions of ONNX models, as what runs an endpoint. */

import type { OnnxEndpointPlan } from '../../core/bundle/plan.ts'
import { openExplainer } from '../explanations/explainer.ts'
import type { HeldTensors } from '../explanations/onnx-scorer.ts'
import { enricherOf } from '../predictions/enricher.ts'
import type { Runtime, RuntimeContext } from '../runtime.ts'
import { openPredictor } from './predictor.ts'

export async function openOnnx(plan: OnnxEndpointPlan, context: RuntimeContext): Promise<Runtime> {
  const { serviceId, generationId, directory, settings, checked = {}, log } = context
  const generation = { serviceId, generationId }
  const explainer = await openExplainer<HeldTensors>(directory, { plan, ...generation })
  const enricher = await enricherOf(plan, context)
  try {
    const forms = { compiled: settings.compiled, checked, log }
    return await openPredictor(directory, { ...generation, enricher, explainer, forms }, plan)
  } catch (error) {
    await enricher?.release()
    throw error
  }
}
