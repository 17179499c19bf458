/** Forges one endpoint: a model by ONNX Runtime itself, any other by the runtime that serves it. */

import type { ManifestEndpoint } from '../../core/bundle/manifest.ts'
import { forgeModel } from './onnx-endpoint.ts'
import { forgeRuntime } from './runtime-endpoint.ts'
import type { EndpointForged, EndpointTask } from './task.ts'

export function forgeEndpoint(task: EndpointTask<ManifestEndpoint>): Promise<EndpointForged> {
  const { endpoint } = task
  if (endpoint.type === 'STD_PREDICTION') return forgeModel({ ...task, endpoint })
  return forgeRuntime({ ...task, endpoint })
}
