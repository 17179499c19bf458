/** Predictions of ONNX models, as what runs an endpoint. */

import type { OnnxEndpointPlan } from '../../core/bundle/plan.ts'
import type { Runtime, RuntimeContext } from '../runtime.ts'
import { openPredictor } from './predictor.ts'

export async function openOnnx(plan: OnnxEndpointPlan, context: RuntimeContext): Promise<Runtime> {
  if (plan.enrich === undefined) return openPredictor(context.directory, context, plan)
  // Only here, so that no thread without look-ups loads what reads tables.
  const { openEnricher } = await import('../lookup/enrich.ts')
  const { serviceId, generationId, directory } = context
  const enricher = await openEnricher(plan.enrich, context)
  try {
    return await openPredictor(directory, { serviceId, generationId, enricher }, plan)
  } catch (error) {
    await enricher.release()
    throw error
  }
}
