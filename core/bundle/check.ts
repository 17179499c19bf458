/**
 * Checks `service.json` without touching a model: shape first, then what a schema cannot say. Every
 * fault is reported at once, since each round of fixing costs its author an upload.
 *
 * Pure, so that the forge, the admin API and the command line judge a manifest alike.
 */

import { Ajv, type ValidateFunction } from 'ajv'
import type { ErrorCode, Fault } from '../base/errors.ts'
import { ID_RULE, isGenerationId } from '../base/ids.ts'
import { isDeeperThan, isObject } from '../base/json.ts'
import { LIMITS } from '../config/limits.ts'
import type { StdPredictionEndpoint } from './endpoint-schemas.ts'
import { endpointType, type Manifest, ManifestSchema } from './manifest.ts'
import type { ManifestFeature } from './manifest-features.ts'
import { faultsOf, join, nearest, shown } from './sentences.ts'

/** What the upload says beside the manifest. */
export interface ManifestContext {
  /** Service that the bundle is imported into; null: any (a check before the upload). */
  readonly serviceId: string | null
  /** `?generationId=`, else null. */
  readonly generationId: string | null
  /** The upload's file name, the last resort for the generation id; null when unknown. */
  readonly fileName: string | null
  /** Paths of all files of the bundle, relative to the manifest. */
  readonly files: ReadonlySet<string>
}

export type CheckedManifest =
  | { readonly kind: 'valid'; readonly manifest: Manifest; readonly generationId: string }
  | { readonly kind: 'invalid'; readonly code: ErrorCode; readonly faults: readonly Fault[] }

/** A list longer than this helps nobody; what is cut is counted. */
const FAULTS_MAX = 200
/** Judging an error costs time that grows with their number, and a hostile file has many. */
const SCHEMA_ERRORS_MAX = 1_000

/** Reads the text of `service.json` and checks it. */
export function checkManifestText(text: string, context: ManifestContext): CheckedManifest {
  const plain = text.startsWith('\uFEFF') ? text.slice(1) : text
  if (isDeeperThan(LIMITS.jsonDepthMax, plain)) {
    return invalid([{ path: '', reason: `is nested over ${LIMITS.jsonDepthMax} levels` }])
  }
  try {
    return checkManifest(JSON.parse(plain), context)
  } catch (error) {
    const reason = error instanceof SyntaxError ? error.message : String(error)
    return invalid([{ path: '', reason: `service.json is not JSON: ${reason.slice(0, 200)}` }])
  }
}

export function checkManifest(raw: unknown, context: ManifestContext): CheckedManifest {
  const validate = validator()
  const generation = resolveGenerationId(raw, context)
  const unsupported = unsupportedEndpoints(raw)
  const wellFormed = validate(raw)
  const faults = [
    ...faultsOf((validate.errors ?? []).slice(0, SCHEMA_ERRORS_MAX)).filter(
      ({ path }) => !isUnder(path, unsupported),
    ),
    ...(typeof generation === 'string' ? [] : [generation]),
    ...(wellFormed ? semanticFaults(raw, context, unsupported) : looseFaults(raw, context)),
  ]
  if (faults.length > 0) return invalid([...faults, ...unsupported.values()])
  if (unsupported.size > 0) {
    return { kind: 'invalid', code: 'ERR_ENDPOINT_TYPE', faults: [...unsupported.values()] }
  }
  // Neither can be true here: each left a fault above. The compiler cannot know that.
  if (!wellFormed || typeof generation !== 'string') return invalid(faults)
  return { kind: 'valid', manifest: raw, generationId: generation }
}

function invalid(faults: readonly Fault[]): CheckedManifest {
  const cut = faults.length - FAULTS_MAX
  const shownFaults = faults.slice(0, FAULTS_MAX)
  if (cut > 0) shownFaults.push({ path: '', reason: `${cut} more faults are not listed` })
  return { kind: 'invalid', code: 'ERR_BUNDLE_INVALID', faults: shownFaults }
}

let compiled: ValidateFunction<Manifest> | null = null

/** Compiled at the first use: most processes that load this file never check a manifest. */
function validator(): ValidateFunction<Manifest> {
  compiled ??= new Ajv({ allErrors: true, verbose: true, strict: false }).compile<Manifest>(
    ManifestSchema,
  )
  return compiled
}

/** The manifest's id, else the query's, else the file name's; or the fault that there is none. */
function resolveGenerationId(raw: unknown, context: ManifestContext): string | Fault {
  const path = 'generationId'
  const given = isObject(raw) ? raw['generationId'] : undefined
  const queried = context.generationId
  if (typeof given === 'string') {
    if (queried !== null && queried !== given) {
      return { path, reason: `is "${given}", but ?generationId= says ${shown(queried)}` }
    }
    if (given === 'actions') return { path, reason: '"actions" is reserved' }
    // The schema tells what is wrong with its form.
    return given
  }
  const source = queried === null ? 'the file name' : '?generationId='
  const id = queried ?? nameOf(context.fileName)
  if (id === null || id === '') {
    return { path, reason: 'no generation id: put it into service.json or add ?generationId=' }
  }
  if (isGenerationId(id)) return id
  const reason = `${source} ${shown(id)} is no generation id (${ID_RULE}, not "actions")`
  return { path, reason: `${reason}: put one into service.json or add ?generationId=` }
}

/** `C:\models\iris-v2.ZIP` -> `iris-v2`. */
function nameOf(fileName: string | null): string | null {
  const base = fileName?.split(/[/\\]/).at(-1) ?? null
  return base === null ? null : base.replace(/\.zip$/i, '')
}

/** Faults of endpoints whose type is known but not run by this node, by the endpoint's path. */
function unsupportedEndpoints(raw: unknown): ReadonlyMap<string, Fault> {
  const faults = new Map<string, Fault>()
  const endpoints = isObject(raw) ? raw['endpoints'] : undefined
  if (!Array.isArray(endpoints)) return faults
  for (const [i, endpoint] of endpoints.entries()) {
    if (!isObject(endpoint) || typeof endpoint['type'] !== 'string') continue
    const type = endpointType(endpoint['type'])
    if (type === null || type === 'STD_PREDICTION') continue
    const path = `endpoints[${i}]`
    const reason = `endpoint ${shown(endpoint['id'])} is a ${type}: this node runs STD_PREDICTION`
    faults.set(path, { path: `${path}.type`, reason })
  }
  return faults
}

function isUnder(path: string, parents: ReadonlyMap<string, Fault>): boolean {
  const parent = /^endpoints\[\d+\]/.exec(path)?.[0]
  // A bad id concerns us whatever the type.
  return parent !== undefined && parents.has(parent) && path !== `${parent}.id`
}

function semanticFaults(
  manifest: Manifest,
  context: ManifestContext,
  unsupported: ReadonlyMap<string, Fault>,
): Fault[] {
  const faults = [...looseFaults(manifest, context)]
  for (const [i, endpoint] of manifest.endpoints.entries()) {
    const path = `endpoints[${i}]`
    if (unsupported.has(path)) continue
    faults.push(...endpointFaults(endpoint, path, context))
  }
  return faults
}

/** What can be judged even when the schema already complains elsewhere. */
function looseFaults(raw: unknown, { serviceId }: ManifestContext): Fault[] {
  if (!isObject(raw)) return []
  const faults: Fault[] = []
  const given = raw['serviceId']
  if (typeof given === 'string' && serviceId !== null && given !== serviceId) {
    const reason = `is ${shown(given)}, but the bundle is imported into "${serviceId}"`
    faults.push({ path: 'serviceId', reason })
  }
  const endpoints = raw['endpoints']
  if (!Array.isArray(endpoints)) return faults
  faults.push(...duplicates(endpoints, 'endpoints', 'id'))
  for (const [i, endpoint] of endpoints.entries()) {
    if (!isObject(endpoint)) continue
    const path = `endpoints[${i}]`
    if (Array.isArray(endpoint['features'])) {
      faults.push(...duplicates(endpoint['features'], `${path}.features`, 'name'))
    }
    const type = endpoint['type']
    if (typeof type === 'string' && endpointType(type) === null) {
      faults.push({ path: `${path}.type`, reason: unknownType(type) })
    }
  }
  return faults
}

function unknownType(type: string): string {
  const near = nearest(type, ['STD_PREDICTION'])
  const hint = near === null ? 'this node runs STD_PREDICTION' : `did you mean "${near}"?`
  return `${shown(type)} is no endpoint type; ${hint}`
}

function duplicates(items: readonly unknown[], path: string, key: 'id' | 'name'): Fault[] {
  const first = new Map<string, number>()
  const faults: Fault[] = []
  for (const [i, item] of items.entries()) {
    const value = isObject(item) ? item[key] : undefined
    if (typeof value !== 'string') continue
    const before = first.get(value)
    if (before === undefined) first.set(value, i)
    else {
      const reason = `${shown(value)} is the ${key} of ${path}[${before}] already`
      faults.push({ path: `${path}[${i}].${key}`, reason })
    }
  }
  return faults
}

function endpointFaults(
  endpoint: StdPredictionEndpoint,
  path: string,
  context: ManifestContext,
): Fault[] {
  const faults: Fault[] = []
  const { model, prediction, threshold, classes } = endpoint
  if (model === undefined) {
    faults.push({ path: `${path}.model`, reason: 'model is required for STD_PREDICTION' })
  } else if (!context.files.has(model)) {
    faults.push({ path: `${path}.model`, reason: missingFile(model, context.files) })
  }
  if (threshold !== undefined && prediction !== undefined && !isBinary(prediction)) {
    const reason = `threshold belongs to BINARY_CLASSIFICATION, not to ${prediction}`
    faults.push({ path: `${path}.threshold`, reason })
  }
  if (classes !== undefined) faults.push(...classFaults(endpoint, classes, `${path}.classes`))
  if (prediction === 'RAW' && endpoint.features !== undefined) {
    const reason = 'features belong to predictions of rows; RAW takes whole tensors'
    faults.push({ path: `${path}.features`, reason })
  }
  for (const [i, feature] of (endpoint.features ?? []).entries()) {
    faults.push(...featureFaults(feature, `${path}.features[${i}]`))
  }
  return faults
}

function isBinary(prediction: string): boolean {
  return prediction === 'BINARY_CLASSIFICATION'
}

function missingFile(model: string, files: ReadonlySet<string>): string {
  const near = nearest(model, [...files].slice(0, 1_000))
  const hint = near === null ? '' : `; did you mean "${near}"?`
  return `${shown(model)} is not a file of the bundle${hint}`
}

function classFaults(
  { prediction }: StdPredictionEndpoint,
  classes: NonNullable<StdPredictionEndpoint['classes']>,
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

function featureFaults(feature: ManifestFeature, path: string): Fault[] {
  const faults: Fault[] = []
  const { type, value, categories } = feature
  const rules = (['onMissing', 'onInvalid', 'onUnknown'] as const).filter(
    (rule) => feature[rule] === 'IMPUTE',
  )
  if (value === undefined && rules.length > 0) {
    const say = rules.length > 1 ? 'say' : 'says'
    const reason = `value is required: ${rules.join(' and ')} ${say} IMPUTE`
    faults.push({ path: join(path, 'value'), reason })
  }
  if (type !== undefined && value !== undefined) faults.push(...valueFaults(feature, type, path))
  const { onUnknown = 'ERROR' } = feature
  if (onUnknown !== 'ERROR' && categories === undefined) {
    const reason = `categories is required: onUnknown says ${onUnknown}, and all texts are known`
    faults.push({ path: join(path, 'categories'), reason })
  }
  if (type !== undefined && type !== 'string' && categories !== undefined) {
    const reason = `categories belong to string features, "${feature.name}" is ${type}`
    faults.push({ path: join(path, 'categories'), reason })
  }
  return faults
}

type FeatureType = NonNullable<ManifestFeature['type']>

/** Whether `value` can stand in for the feature; used again when the model has told the type. */
export function valueFaults(feature: ManifestFeature, type: FeatureType, path: string): Fault[] {
  const { value, categories } = feature
  if (value === undefined) return []
  const wanted = WANTED[type]
  const fits = type === 'integer' ? Number.isSafeInteger(value) : typeof value === wanted.js
  if (!fits) {
    const reason = `value must be ${wanted.text} for "${feature.name}", not ${shown(value)}`
    return [{ path: join(path, 'value'), reason }]
  }
  if (categories !== undefined && !categories.includes(String(value))) {
    return [{ path: join(path, 'value'), reason: `value ${shown(value)} is not in categories` }]
  }
  return []
}

const WANTED = {
  number: { js: 'number', text: 'a number' },
  integer: { js: 'number', text: 'a whole number' },
  string: { js: 'string', text: 'a text' },
  boolean: { js: 'boolean', text: 'true or false' },
} as const satisfies Record<FeatureType, { js: string; text: string }>
