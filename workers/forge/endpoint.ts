/** Forges one endpoint by its type. */

import type { ManifestEndpoint } from '../../core/bundle/manifest.ts'
import { forgeModel } from './onnx-endpoint.ts'
import type { EndpointForged, EndpointTask } from './task.ts'

export function forgeEndpoint(task: EndpointTask<ManifestEndpoint>): Promise<EndpointForged> {
  const { endpoint } = task
  if (endpoint.type === 'STD_PREDICTION') return forgeModel({ ...task, endpoint })
  const reason = `endpoint "${endpoint.id}" is a ${endpoint.type}`
  const faults = [{ path: `${task.path}.type`, reason }]
  return Promise.resolve({ kind: 'refused', code: 'ERR_ENDPOINT_TYPE', faults })
}
