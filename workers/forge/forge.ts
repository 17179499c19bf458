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
import type { Manifest } from '../../core/bundle/manifest.ts'
import type { AuthorizationPlan, ForgeReport, GenerationPlan } from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { RUNTIME } from '../onnx/session.ts'
import type { ForgeMessage, ForgePhase, ForgeRequest } from '../protocol.ts'
import { forgeEndpoint } from './endpoint.ts'
import { type ModelFile, modelFile } from './model-file.ts'
import type { EndpointForged } from './task.ts'
import { type ListedFile, manifestPath, type OnProgress, unpack } from './unpack.ts'

/** What is told before the end. */
export type Notice = Extract<ForgeMessage, { kind: 'phase' | 'named' }>

/** The last message of a forge: it says what became of the bundle. */
export type Verdict = Exclude<ForgeMessage, Notice>

/** How often the progress of a phase is told. */
const PROGRESS_EVERY_MS = 100

export async function forge(
  request: ForgeRequest,
  tell: (notice: Notice) => void,
): Promise<Verdict> {
  const startMs = nowMs()
  const say = (phase: ForgePhase, detail: string): void => {
    tell({ kind: 'phase', phase, detail, progress: null })
  }
  say('unpacking', '')
  const read = await unpackAndCheck(request, tell)
  if (read.kind !== 'valid') return read
  const { unpacked, manifest, generationId } = read
  say('checking', `${unpacked.files.length} files`)
  const results = await forgeEndpoints(request, {
    manifest,
    generationId,
    files: unpacked.files,
    say,
  })
  const refusals = results.filter((result) => result.kind === 'refused')
  if (refusals.length > 0) return refusedAll(refusals)
  const endpoints = results.filter((result) => result.kind === 'forged')
  const plan: GenerationPlan = {
    planVersion: 1,
    authorization: authorizationOf(manifest),
    threads: manifest.pool?.threads ?? null,
    endpoints: endpoints.map((endpoint) => endpoint.plan),
  }
  const report: ForgeReport = {
    forgedOn: wallMs(),
    durationMs: Math.round(nowMs() - startMs),
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
    runtime: RUNTIME,
    files: unpacked.files.length,
    unpackedBytes: unpacked.bytes,
    endpoints: endpoints.map((endpoint) => endpoint.report),
  }
  const contentHash = contentSha256(unpacked.files)
  return { kind: 'forged', generationId, contentSha256: contentHash, plan, report }
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
  let toldMs = 0
  return (doneBytes, totalBytes) => {
    const now = nowMs()
    if (toldMs !== 0 && now - toldMs < PROGRESS_EVERY_MS && doneBytes < totalBytes) return
    toldMs = now
    const progress = { doneBytes, totalBytes }
    tell({ kind: 'phase', phase: 'unpacking', detail: '', progress })
  }
}

async function readManifest(request: ForgeRequest, files: readonly ListedFile[]) {
  const place = manifestPath(files)
  const { serviceId, generationId, fileName } = request
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
  })
}

function invalid(faults: readonly Fault[]) {
  return { kind: 'invalid', code: 'ERR_BUNDLE_INVALID', faults } as const
}

interface Checked {
  readonly manifest: Manifest
  readonly generationId: string
  readonly files: readonly ContentFile[]
  readonly say: (phase: ForgePhase, detail: string) => void
}

/** One after the other: two models that load at once would make each other's figures wrong. */
async function forgeEndpoints(
  { directory, serviceId, settings }: ForgeRequest,
  { manifest, generationId, files, say }: Checked,
): Promise<EndpointForged[]> {
  const sizes = new Map(files.map(({ path, size }) => [path, size]))
  const found = new Map<string, Promise<ModelFile>>()
  const oncePerModel = (model: string) => {
    const file = found.get(model) ?? modelFile(directory, sizes, model)
    found.set(model, file)
    return file
  }
  const prepared = { manifestTables: [], tables: [], environment: null, duckdb: null, made: [] }
  const context = {
    serviceId,
    generationId,
    directory,
    tables: [],
    settings,
    children: null,
    report: () => {},
    log: () => {},
  }
  const common = {
    directory,
    files: sizes,
    serviceId,
    generationId,
    modelFile: oncePerModel,
    say,
    prepared,
    context,
  }
  const results: EndpointForged[] = []
  for (const [i, endpoint] of manifest.endpoints.entries()) {
    results.push(await forgeEndpoint({ ...common, endpoint, path: `endpoints[${i}]` }))
  }
  return results
}

function authorizationOf({ authorization }: Manifest): AuthorizationPlan {
  if (authorization === undefined) return { method: 'API_KEYS', keys: [] }
  if (typeof authorization === 'string') return { method: authorization, keys: [] }
  const keys = (authorization.keys ?? []).map(({ id, sha256 }) => ({
    id: id ?? `bundle-${sha256.slice(0, 8)}`,
    sha256,
  }))
  return { method: authorization.method, keys }
}

/** A wrong manifest outranks a bad model, and that a failed test; all faults are told. */
const RANK: readonly ErrorCode[] = [
  'ERR_BUNDLE_INVALID',
  'ERR_MODEL_LIMITS',
  'ERR_MODEL_REFUSED',
  'ERR_TEST_QUERY',
]

function refusedAll(refusals: readonly Extract<EndpointForged, { kind: 'refused' }>[]): Verdict {
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
