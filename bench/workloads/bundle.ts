/** The bundle of a workload for the node: what an operator would write and zip. */

import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { cachedFile, cacheFolder } from '../cache.ts'
import { rowsOf, type Workload } from './workloads.ts'
import { zip } from './zip-writer.ts'

interface BundleOptions {
  readonly model?: string
  readonly generation?: string
  readonly threads?: number
}

/** Stored, not packed: weights do not shrink, and packing 160 MB takes seconds. */
function bundleOf(workload: Workload, options: BundleOptions = {}): Buffer {
  const { model = workload.model(), generation = 'v1', threads } = options
  const manifest = {
    formatVersion: 1,
    generationId: generation,
    authorization: 'API_KEYS',
    ...(threads === undefined ? {} : { pool: { threads } }),
    endpoints: [endpointOf(workload)],
  }
  return zip([
    { name: 'service.json', data: JSON.stringify(manifest) },
    { name: 'model.onnx', data: readFileSync(model), method: 0 },
  ])
}

/** The same as a file; large ones are made once. */
export function bundleFile(workload: Workload, options: BundleOptions = {}): string {
  const { model = workload.model(), generation = 'v1', threads } = options
  const name = `${basename(model, '.onnx')}-${generation}-${threads ?? 'default'}.zip`
  return cachedFile(join(cacheFolder(), 'bundles-1', name), () => bundleOf(workload, options))
}

function endpointOf(workload: Workload) {
  const { classes, inputs } = workload
  const [row = {}] = rowsOf(workload, 1)
  const features = inputs.flatMap(({ name, datatype, columns }) =>
    (columns ?? []).map((column) => ({
      name: column,
      type: datatype === 'string' ? 'string' : 'number',
      input: name,
    })),
  )
  return {
    id: 'predict',
    type: 'STD_PREDICTION',
    model: 'model.onnx',
    testQueries: [{ name: 'first row', q: { features: row } }],
    ...(classes === null
      ? { prediction: 'RAW' }
      : { prediction: kindOf(classes), classes, features }),
  }
}

function kindOf(classes: readonly string[]): string {
  return classes.length === 2 ? 'BINARY_CLASSIFICATION' : 'MULTICLASS'
}
