/**
 * Forges a bundle: archive in, plan and report out, or every fault that was found. The order is
 * that of trust: names and sizes first, then the manifest, and only then the models themselves.
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { assert } from '../../core/base/assert.ts'
import { nowMs, wallMs } from '../../core/base/clock.ts'
import { ERROR_TABLE, type ErrorCode, type Fault } from '../../core/base/errors.ts'
import { checkManifestText } from '../../core/bundle/check.ts'
import { type ContentFile, contentSha256 } from '../../core/bundle/content.ts'
import type { Manifest, ManifestEndpoint } from '../../core/bundle/manifest.ts'
import type {
  AuthorizationPlan,
  ForgeReport,
  GenerationPlan,
  TablePlan,
  TableReport,
  TokenPlan,
} from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { RuntimeSettings } from '../../core/config/runtimes.ts'
import type { ChildHost } from '../children/child-host.ts'
import { RUNTIME } from '../onnx/session.ts'
import type { ForgeMessage, ForgeProgress, ForgeRequest } from '../protocol.ts'
import type { RuntimeLog } from '../runtime.ts'
import { forgeEndpoint } from './endpoint.ts'
import { type BundleFiles, type ModelFile, modelFile } from './model-file.ts'
import { isPython, isR, lookupsOf, type Tell } from './needs.ts'
import { type Prepared, prepare } from './prepare.ts'
import { everyNow } from './progress.ts'
import type { EndpointForged, EndpointRefused } from './task.ts'
import { type ListedFile, manifestPath, type OnProgress, unpack } from './unpack.ts'
import { type Untried, untriedOf } from './untried.ts'

/** What is told before the end. */
export type Notice = Extract<ForgeMessage, { kind: 'phase' | 'named' }>

/** The last message of a forge: it says what became of the bundle. */
export type Verdict = Exclude<ForgeMessage, Notice>

export async function forge(
  request: ForgeRequest,
  tell: (notice: Notice) => void,
): Promise<Verdict> {
  const startMs = nowMs()
  const say: Tell = (phase, detail, progress) => {
    tell({ kind: 'phase', phase, detail, progress: progress ?? null })
  }
  say('unpacking', '')
  const read = await unpackAndCheck(request, tell)
  if (read.kind !== 'valid') return read
  const { unpacked, manifest, generationId } = read
  say('checking', `${unpacked.files.length} files`)
  const untried = request.withoutNode === true ? untriedOf(manifest, request.settings) : []
  const serviceId = request.serviceId ?? manifest.serviceId ?? NO_SERVICE
  const checked = { manifest, serviceId, generationId, unpacked, untried, say }
  const { results, prepared } = await forgeAll(request, checked)
  const refusals = [...prepared.refusals, ...results.filter((one) => one.kind === 'refused')]
  if (refusals.length > 0) return refusedAll(refusals)
  const endpoints = results.filter((result) => result.kind === 'forged')
  const samples = endpoints.map((one) => one.plan.explanations?.background)
  const made = [...prepared.made, ...samples.filter((file) => file !== undefined)]
  const plan: GenerationPlan = {
    planVersion: 1,
    authorization: authorizationOf(manifest),
    threads: manifest.pool?.threads ?? null,
    endpoints: endpoints.map((endpoint) => endpoint.plan),
    ...(prepared.tables.length > 0 ? { tables: prepared.tables } : {}),
    ...(made.length > 0 ? { made } : {}),
  }
  const report: ForgeReport = {
    forgedOn: wallMs(),
    durationMs: Math.round(nowMs() - startMs),
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
    runtime: RUNTIME,
    files: unpacked.files.length,
    unpackedBytes: unpacked.bytes,
    endpoints: endpoints.map((endpoint) => endpoint.report),
    ...(prepared.tables.length > 0 ? { tables: prepared.tables.map(tableReport) } : {}),
  }
  const contentHash = contentSha256(unpacked.files)
  const verdict = {
    kind: 'forged',
    generationId,
    contentSha256: contentHash,
    plan,
    report,
  } as const
  return untried.length === 0 ? verdict : { ...verdict, untried: untried.map(({ fault }) => fault) }
}

/** Stands for the service of a bundle that is only checked; no setting names it. */
const NO_SERVICE = 'check'

function tableReport({ name, rows, columns, database }: TablePlan): TableReport {
  return { name, rows, columns: columns.length, connection: database?.connection ?? null }
}

/** The manifest is checked when only it is unpacked. */
async function unpackAndCheck(request: ForgeRequest, tell: (notice: Notice) => void) {
  const manifest: { checked: Awaited<ReturnType<typeof readManifest>> | null } = { checked: null }
  const unpacked = await unpack(request.archive, request.directory, {
    diskBytesMax: request.diskBytesMax,
    onProgress: unpackingProgress(tell),
    onManifest: async (files) => {
      const checked = await readManifest(request, files)
      manifest.checked = checked
      if (checked.kind === 'invalid') return false
      tell({ kind: 'named', generationId: checked.generationId })
      return true
    },
  })
  if (unpacked.kind === 'refused') return refused('ERR_BUNDLE_INVALID', unpacked.faults)
  const { checked } = manifest
  assert(checked !== null, 'no archive is unpacked without a look at its manifest')
  if (checked.kind === 'invalid') return refused(checked.code, checked.faults)
  assert(unpacked.kind === 'unpacked', 'only a refused manifest stops the unpacking')
  return { ...checked, unpacked }
}

function unpackingProgress(tell: (notice: Notice) => void): OnProgress {
  const say = everyNow((progress: ForgeProgress) => {
    tell({ kind: 'phase', phase: 'unpacking', detail: '', progress })
  })
  return (doneBytes, totalBytes) => say({ doneBytes, totalBytes })
}

async function readManifest(request: ForgeRequest, files: readonly ListedFile[]) {
  const place = manifestPath(files)
  const { serviceId, generationId, fileName, issuers } = request
  if (place.kind === 'missing') return invalid([place.fault])
  const size = files.find(({ path }) => path === place.path)?.size ?? 0
  if (size > LIMITS.manifestBytesMax) {
    const reason = `service.json has ${size} bytes, at most ${LIMITS.manifestBytesMax} are allowed`
    return invalid([{ path: '', reason }])
  }
  const bytes = await readFile(join(request.directory, place.path))
  const names = new Set(files.map(({ path }) => path))
  return checkManifestText(bytes.toString('utf8'), {
    serviceId,
    generationId,
    fileName,
    files: names,
    ...(issuers === undefined ? {} : { issuers }),
  })
}

function invalid(faults: readonly Fault[]) {
  return { kind: 'invalid', code: 'ERR_BUNDLE_INVALID', faults } as const
}

interface Checked {
  readonly manifest: Manifest
  readonly serviceId: string
  readonly generationId: string
  readonly untried: readonly Untried[]
  readonly unpacked: { readonly files: readonly ContentFile[]; readonly bytes: number }
  readonly say: Tell
}

interface ForgedAll {
  readonly prepared: Prepared
  readonly results: readonly EndpointForged[]
}

async function forgeAll(request: ForgeRequest, checked: Checked): Promise<ForgedAll> {
  const { directory, settings, diskBytesMax } = request
  const { manifest, serviceId, unpacked, untried, say } = checked
  const left = new Set(untried.map(({ index }) => index))
  const tried = { ...manifest, endpoints: manifest.endpoints.filter((_, i) => !left.has(i)) }
  const files = new Map(unpacked.files.map(({ path, size }) => [path, size]))
  const prepared = await prepare({
    manifest: tried,
    directory,
    files,
    settings,
    diskBytesMax: Math.max(0, diskBytesMax - unpacked.bytes),
    serviceId,
    tell: say,
  })
  const children = await childrenFor(tried, settings)
  try {
    const results = await forgeEndpoints(request, { ...checked, files, prepared, children })
    return { prepared, results }
  } finally {
    await children?.close()
  }
}

/** Null: no endpoint needs a process. */
async function childrenFor(
  { endpoints }: Manifest,
  settings: RuntimeSettings,
): Promise<ChildHost | null> {
  if (!endpoints.some((one) => isPython(one) || isR(one))) return null
  const { localHost } = await import('../children/local-host.ts')
  return localHost(settings, log)
}

/** The client of this process shows its last words. */
const log: RuntimeLog = (level, _fields, text) => {
  if (level !== 'info') process.stderr.write(`${text}\n`)
}

interface Ready extends Checked {
  readonly files: BundleFiles
  readonly prepared: Prepared
  readonly children: ChildHost | null
}

/** One after the other: two models that load at once would make each other's figures wrong. */
async function forgeEndpoints(
  { directory, settings }: ForgeRequest,
  { manifest, serviceId, generationId, untried, files, prepared, children, say }: Ready,
): Promise<EndpointForged[]> {
  const found = new Map<string, Promise<ModelFile>>()
  const oncePerModel = (model: string) => {
    const file = found.get(model) ?? modelFile(directory, files, model)
    found.set(model, file)
    return file
  }
  const { tables } = prepared
  const place = { serviceId, generationId, directory }
  // A child that is lost fails the bundle, so none is kept ready to take its place.
  const spares = 0
  const context = { ...place, tables, settings, children, spares, report: () => {}, log }
  const common = { ...place, files, modelFile: oncePerModel, prepared, context, say }
  const results: EndpointForged[] = []
  for (const [i, endpoint] of manifest.endpoints.entries()) {
    if (isBlocked(endpoint, prepared) || untried.some(({ index }) => index === i)) continue
    results.push(await forgeEndpoint({ ...common, endpoint, path: `endpoints[${i}]` }))
  }
  return results
}

/** Without what it needs it could only be refused for the same reason again. */
function isBlocked(endpoint: ManifestEndpoint, prepared: Prepared): boolean {
  if (prepared.lacksEnvironment && isPython(endpoint)) return true
  const { missing } = prepared
  if (endpoint.type === 'SQL_QUERY') return endpoint.connection === undefined && missing.size > 0
  return lookupsOf(endpoint).some(({ table }) => missing.has(table))
}

function authorizationOf({ authorization }: Manifest): AuthorizationPlan {
  if (authorization === undefined) return { method: 'API_KEYS', keys: [] }
  if (typeof authorization === 'string') return { method: authorization, keys: [] }
  const { method, issuer, audiences = [], scopes = [] } = authorization
  // Without an issuer the manifest was refused.
  if (method === 'OAUTH2') return { method, keys: [], token: tokenPlan(issuer, audiences, scopes) }
  const keys = (authorization.keys ?? []).map(({ id, sha256 }) => ({
    id: id ?? `bundle-${sha256.slice(0, 8)}`,
    sha256,
  }))
  return { method, keys }
}

function tokenPlan(
  issuer: string | undefined,
  audiences: readonly string[],
  scopes: readonly string[],
): TokenPlan {
  assert(issuer !== undefined, 'a manifest with OAUTH2 names an issuer')
  return { issuer, audiences, scopes }
}

/** A wrong manifest outranks a bad model, and that a failed test; all faults are told. */
const RANK: readonly ErrorCode[] = [
  'ERR_BUNDLE_INVALID',
  'ERR_DISK_FULL',
  'ERR_INTERPRETER_MISSING',
  'ERR_ENVIRONMENT_FAILED',
  'ERR_CODE_REFUSED',
  'ERR_CONNECTION_UNUSABLE',
  'ERR_MODEL_LIMITS',
  'ERR_MODEL_REFUSED',
  'ERR_TEST_QUERY',
]

function refusedAll(refusals: readonly EndpointRefused[]): Verdict {
  const codes = refusals.map(({ code }) => code)
  const code = RANK.find((candidate) => codes.includes(candidate)) ?? 'ERR_INTERNAL'
  return refused(
    code,
    refusals.flatMap(({ faults }) => faults),
  )
}

/** The first fault is the detail: most bundles have one. */
function refused(code: ErrorCode, faults: readonly Fault[]): Verdict {
  const [first] = faults
  const place = first === undefined || first.path === '' ? '' : `${first.path}: `
  const more = faults.length > 1 ? ` (and ${faults.length - 1} more)` : ''
  const detail = first === undefined ? ERROR_TABLE[code].message : `${place}${first.reason}${more}`
  return { kind: 'refused', code, detail, faults: shortened(faults) }
}

/** A list longer than this helps nobody; what is cut is counted. */
const FAULTS_MAX = 200

function shortened(faults: readonly Fault[]): readonly Fault[] {
  if (faults.length <= FAULTS_MAX + 1) return faults
  const reason = `${faults.length - FAULTS_MAX} more faults are not listed`
  return [...faults.slice(0, FAULTS_MAX), { path: '', reason }]
}
