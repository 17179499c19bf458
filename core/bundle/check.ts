/**
 * Checks `service.json` without touching a model: shape first, then what a schema cannot say. Every
 * fault is reported at once, since each round of fixing costs its author an upload.
 *
 * Pure, so that the forge, the admin API and the command line judge a manifest alike.
 */

import type { ErrorCode, Fault } from '../base/errors.ts'
import { ID_RULE, isGenerationId } from '../base/ids.ts'
import { isDeeperThan, isObject } from '../base/json.ts'
import { LIMITS } from '../config/limits.ts'
import { authorizationFaults, type KnownIssuer } from './check-authorization.ts'
import { endpointFaults } from './check-endpoints.ts'
import { fileFaults, folderFaults } from './check-files.ts'
import { type Shaped, shapeOf } from './check-shape.ts'
import { tableFaults } from './check-tables.ts'
import type { Manifest, ManifestEndpoint } from './manifest.ts'
import { shown } from './sentences.ts'

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
  /** Token issuers of the node; absent: not known here. */
  readonly issuers?: readonly KnownIssuer[]
}

export type CheckedManifest =
  | { readonly kind: 'valid'; readonly manifest: Manifest; readonly generationId: string }
  | { readonly kind: 'invalid'; readonly code: ErrorCode; readonly faults: readonly Fault[] }

/** A list longer than this helps nobody; what is cut is counted. */
const FAULTS_MAX = 200

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
  const shape = shapeOf(raw)
  const generation = resolveGenerationId(raw, context)
  const faults = [
    ...shape.faults,
    ...(typeof generation === 'string' ? [] : [generation]),
    ...semanticFaults(shape, context),
    ...looseFaults(raw, context),
  ]
  if (faults.length > 0) return invalid(faults)
  const endpoints = shape.endpoints.filter((one): one is ManifestEndpoint => one !== null)
  // Neither can be true here: each left a fault above. The compiler cannot know that.
  if (shape.envelope === null || typeof generation !== 'string') return invalid(faults)
  return { kind: 'valid', manifest: { ...shape.envelope, endpoints }, generationId: generation }
}

/** Of whatever part has the right shape, so that a fault elsewhere hides nothing. */
function semanticFaults({ envelope, endpoints }: Shaped, context: ManifestContext): Fault[] {
  const { files, issuers } = context
  const faults = authorizationFaults(envelope?.authorization, issuers)
  const tables = envelope?.tables ?? []
  faults.push(...tableFaults(tables, files))
  const { requirements, wheels } = envelope?.python ?? {}
  if (requirements !== undefined) {
    faults.push(...fileFaults(requirements, 'python.requirements', files))
  }
  if (wheels !== undefined) faults.push(...folderFaults(wheels, 'python.wheels', files))
  for (const [i, endpoint] of endpoints.entries()) {
    if (endpoint === null) continue
    const found = endpointFaults(endpoint, { path: `endpoints[${i}]`, files, tables })
    // With tables of the wrong shape nobody knows which there are.
    faults.push(...found.filter(({ path }) => envelope !== null || !path.endsWith('.table')))
  }
  return faults
}

function invalid(faults: readonly Fault[]): CheckedManifest {
  const cut = faults.length - FAULTS_MAX
  const shownFaults = faults.slice(0, FAULTS_MAX)
  if (cut > 0) shownFaults.push({ path: '', reason: `${cut} more faults are not listed` })
  return { kind: 'invalid', code: 'ERR_BUNDLE_INVALID', faults: shownFaults }
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
  }
  return faults
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
