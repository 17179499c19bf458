/** One endpoint of each type: what its schema cannot say. */

import { assertNever } from '../base/assert.ts'
import type { Fault } from '../base/errors.ts'
import { depthFaults } from './check-depth.ts'
import { featureFaults } from './check-features.ts'
import { type Files, fileFaults, folderFaults } from './check-files.ts'
import { lookupFaults } from './check-tables.ts'
import type {
  CustomPredictionEndpoint,
  CustomRPredictionEndpoint,
  StdPredictionEndpoint,
} from './endpoint-schemas.ts'
import { explanationFaults } from './explanation-schema.ts'
import type { ManifestEndpoint } from './manifest.ts'
import type { ManifestFeature } from './manifest-features.ts'
import { join, shown } from './sentences.ts'
import type { ManifestTable } from './table-schema.ts'

export interface EndpointPlace {
  /** `endpoints[0]`. */
  readonly path: string
  readonly files: Files
  readonly tables: readonly ManifestTable[]
}

export function endpointFaults(endpoint: ManifestEndpoint, place: EndpointPlace): Fault[] {
  const { path, files, tables } = place
  switch (endpoint.type) {
    case 'STD_PREDICTION':
      return stdFaults(endpoint, place)
    case 'CUSTOM_PREDICTION':
      return [
        ...codeFaults(endpoint, place),
        ...folderFaults(endpoint.dataFolder ?? '', `${path}.dataFolder`, files),
        ...customFaults(endpoint, place),
      ]
    case 'CUSTOM_R_PREDICTION':
      return [...codeFaults(endpoint, place), ...customFaults(endpoint, place)]
    case 'PYTHON_FUNCTION':
    case 'R_FUNCTION':
      return codeFaults(endpoint, place)
    case 'DATASET_LOOKUP':
      return lookupFaults(endpoint.lookups, `${path}.lookups`, tables)
    case 'SQL_QUERY':
      return []
    default:
      return assertNever(endpoint)
  }
}

interface Code {
  readonly file: string
  readonly variables?: Readonly<Record<string, string>> | undefined
}

const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/
/** What code of the bundle asks its own service with; only it can know its key. */
const OF_BUNDLES = ['SWITCHYARD_URL', 'SWITCHYARD_API_KEY']

function codeFaults({ file, variables = {} }: Code, { path, files }: EndpointPlace): Fault[] {
  const faults = fileFaults(file, `${path}.file`, files)
  for (const [name, value] of Object.entries(variables)) {
    const where = join(`${path}.variables`, name)
    if (!VARIABLE.test(name)) {
      const rule = 'of letters, digits and "_" that starts with no digit'
      faults.push({ path: where, reason: `${shown(name)} must be a name ${rule}` })
    } else if (name.startsWith('SWITCHYARD_') && !OF_BUNDLES.includes(name)) {
      const reason = "names that start with SWITCHYARD_ are the node's"
      faults.push({ path: where, reason: `${reason}, but for ${OF_BUNDLES.join(' and ')}` })
    } else if (value.includes('\0')) {
      faults.push({ path: where, reason: 'a variable cannot hold a NUL' })
    }
  }
  return faults
}

function stdFaults(endpoint: StdPredictionEndpoint, place: EndpointPlace): Fault[] {
  const { path, files } = place
  const faults = fileFaults(endpoint.model, `${path}.model`, files)
  faults.push(...predictionFaults(endpoint, place))
  if (endpoint.prediction !== 'RAW') return faults
  if (endpoint.features !== undefined) {
    const reason = 'features belong to predictions of rows; RAW takes whole tensors'
    faults.push({ path: `${path}.features`, reason })
  }
  if (endpoint.enrich !== undefined) {
    const reason = 'enrich belongs to predictions of rows; RAW takes whole tensors'
    faults.push({ path: `${path}.enrich`, reason })
  }
  return faults
}

const OF_SECOND_CLASS = [
  ['threshold', 'the threshold is'],
  ['percentiles', 'the percentiles are'],
] as const

/** Code has no signature, so the manifest alone says what its features are. */
function customFaults(
  endpoint: CustomPredictionEndpoint | CustomRPredictionEndpoint,
  place: EndpointPlace,
): Fault[] {
  const { path } = place
  const faults = predictionFaults(endpoint, place)
  if (endpoint.prediction === 'BINARY_CLASSIFICATION' && endpoint.classes === undefined) {
    const needing = OF_SECOND_CLASS.find(([key]) => endpoint[key] !== undefined)
    if (needing !== undefined) {
      const reason = `classes is required: ${needing[1]} for the second of two`
      faults.push({ path: `${path}.classes`, reason })
    }
  }
  for (const [i, feature] of (endpoint.features ?? []).entries()) {
    faults.push(...customFeatureFaults(feature, `${path}.features[${i}]`))
  }
  return faults
}

function customFeatureFaults({ name, type, input }: ManifestFeature, path: string): Fault[] {
  const faults: Fault[] = []
  if (type === undefined) {
    const reason = `type is required for ${shown(name)}: there is no model to read it from`
    faults.push({ path: `${path}.type`, reason })
  }
  if (input !== undefined) {
    faults.push({ path: `${path}.input`, reason: 'input belongs to STD_PREDICTION' })
  }
  return faults
}

type Prediction = StdPredictionEndpoint | CustomPredictionEndpoint | CustomRPredictionEndpoint

function predictionFaults(endpoint: Prediction, place: EndpointPlace): Fault[] {
  const { path, tables } = place
  const faults: Fault[] = []
  const { prediction, threshold, classes, enrich } = endpoint
  if (threshold !== undefined && prediction !== undefined && !isBinary(prediction)) {
    const reason = `threshold belongs to BINARY_CLASSIFICATION, not to ${prediction}`
    faults.push({ path: `${path}.threshold`, reason })
  }
  if (classes !== undefined) faults.push(...classFaults(prediction, classes, `${path}.classes`))
  for (const [i, feature] of (endpoint.features ?? []).entries()) {
    faults.push(...featureFaults(feature, `${path}.features[${i}]`))
  }
  faults.push(...explanationFaults(endpoint, path, place.files))
  const known = {
    kind: prediction,
    classes: classes?.map(String) ?? null,
    features: endpoint.features ?? null,
  }
  faults.push(...depthFaults(endpoint, known, path))
  if (enrich === undefined) return faults
  return [...faults, ...lookupFaults(enrich.lookups, `${path}.enrich.lookups`, tables)]
}

function isBinary(prediction: string): boolean {
  return prediction === 'BINARY_CLASSIFICATION'
}

function classFaults(
  prediction: Prediction['prediction'],
  classes: NonNullable<Prediction['classes']>,
  path: string,
): Fault[] {
  if (prediction === 'REGRESSION' || prediction === 'RAW') {
    return [{ path, reason: `classes belong to classification, not to ${prediction}` }]
  }
  const faults: Fault[] = []
  if (prediction !== undefined && isBinary(prediction) && classes.length !== 2) {
    const reason = `BINARY_CLASSIFICATION has 2 classes, not ${classes.length}`
    faults.push({ path, reason })
  }
  const seen = new Set<string>()
  for (const [i, name] of classes.entries()) {
    const text = String(name)
    if (seen.has(text)) faults.push({ path: `${path}[${i}]`, reason: `"${text}" is there twice` })
    seen.add(text)
  }
  return faults
}
