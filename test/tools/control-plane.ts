/**
 * A control plane for tests: the real store, operations, routes and listener, with the serving
 * process and the forge replaced by in-memory parties of the same contracts. Whole nodes are
 * tested elsewhere; here loads can be made slow or fail on purpose, and time is short.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type {
  ReplaceOutcome,
  ReplaceReason,
  Serving,
  ServingStatus,
  WarmOutcome,
} from '../../admin/contracts.ts'
import type { CompiledForms } from '../../admin/operations/compiled-forms.ts'
import { type Operations, openOperations } from '../../admin/operations/operations.ts'
import { createAdminApi } from '../../admin/routes/admin-api.ts'
import type { RuntimesView } from '../../admin/runtimes.ts'
import { Home } from '../../admin/store/home.ts'
import { LmdbStore } from '../../admin/store/lmdb-store.ts'
import type { DiskSpace } from '../../admin/store/space.ts'
import type { CopyStatus } from '../../admin/store/state-copies.ts'
import { type Logger, SILENT } from '../../core/base/logger.ts'
import type {
  DesiredState,
  GenerationState,
  ObservedGeneration,
  ObservedState,
  StoppedEndpoint,
} from '../../core/channel/messages.ts'
import type { RuntimeStatus } from '../../core/children/spec.ts'
import { BodyBudget } from '../../core/http/body-budget.ts'
import { NodeHttpServer } from '../../core/http/node-http.ts'
import { MetricsStore } from '../../core/metrics/store.ts'
import { bundle, type FakeBundle, MemoryForge } from './memory-forge.ts'

const DRAIN_MS = 20
const TICK_MS = 2

interface Held {
  state: GenerationState
  reason: string | null
  readonly since: number
}

/** Follows the desired state as a serving process does: loads, routes, drains, forgets. */
export class MemoryServing implements Serving {
  /** By `service/generation`: how long a load takes, and why it fails. */
  readonly loadMs = new Map<string, number>()
  readonly failures = new Map<string, string>()
  /** By the same: how many of its threads (one) are inside a run that does not end. */
  readonly threadsLost = new Map<string, number>()
  /** By the same: what its endpoints depend on. */
  readonly runtimes = new Map<string, readonly RuntimeStatus[]>()
  readonly published: DesiredState[] = []
  /** While true nothing that is published is applied. */
  stalled = false
  applyMs = 300
  running = true
  /** Endpoints that a circuit has stopped, until an operator pardons them. */
  stopped: StoppedEndpoint[] = []
  replaceOutcome: ReplaceOutcome = { kind: 'replaced', processes: 1, ms: 1 }
  readonly replacements: ReplaceReason[] = []
  readonly #held = new Map<string, Held>()
  #desired: DesiredState | null = null
  #applied = 0

  publish(state: DesiredState): void {
    this.published.push(state)
    this.#desired = state
    setImmediate(() => this.#apply())
  }

  resume(): void {
    this.stalled = false
    this.#apply()
  }

  async whenApplied(revision: number): Promise<boolean> {
    for (let waitedMs = 0; waitedMs < this.applyMs; waitedMs += TICK_MS) {
      if (this.#applied >= revision) return true
      await sleep(TICK_MS)
    }
    return this.#applied >= revision
  }

  async whenWarm(serviceId: string, generationId: string): Promise<WarmOutcome> {
    const key = `${serviceId}/${generationId}`
    for (let waitedMs = 0; waitedMs < 3_000; waitedMs += TICK_MS) {
      const held = this.#held.get(key)
      if (held?.state === 'warm' || held?.state === 'active') return { kind: 'warm' }
      if (held?.state === 'failed') return { kind: 'failed', reason: held.reason ?? '' }
      await sleep(TICK_MS)
    }
    return { kind: 'failed', reason: 'it was not warm in time' }
  }

  observed(): ObservedState | null {
    if (!this.running) return null
    const generations = [...this.#held].map(([key, held]) => ({
      ...observedOf(key, held),
      threadsLost: this.threadsLost.get(key) ?? 0,
      runtimes: this.runtimes.get(key) ?? [],
    }))
    return { revision: this.#applied, generations, connections: 0 }
  }

  async collect(): Promise<void> {}

  async replace(reason: ReplaceReason): Promise<ReplaceOutcome> {
    this.replacements.push(reason)
    return this.replaceOutcome
  }

  pardon(serviceId: string, generationId: string): void {
    this.stopped = this.stopped.filter(
      (one) => one.serviceId !== serviceId || one.generationId !== generationId,
    )
  }

  status(): ServingStatus {
    const one = { pid: 1, state: 'serving', startedOn: 1, residentBytes: null } as const
    return {
      wanted: 1,
      processes: this.running ? [one] : [],
      listening: this.running,
      server: null,
      port: null,
      replacements: {},
      lastExit: null,
      stopped: this.stopped,
      overMemory: false,
      tcpMigrateReq: null,
    }
  }

  /** Its threads crash: a load that had succeeded is undone. */
  crash(key: string, reason: string): void {
    const held = this.#held.get(key)
    if (held === undefined) return
    held.state = 'failed'
    held.reason = reason
  }

  stateOf(key: string): GenerationState | undefined {
    return this.#held.get(key)?.state
  }

  #apply(): void {
    const desired = this.#desired
    if (this.stalled || desired === null || desired.revision === this.#applied) return
    const wanted = new Set(desired.generations.map((g) => `${g.serviceId}/${g.generationId}`))
    for (const key of wanted) if (!this.#isHeld(key)) this.#load(key)
    for (const key of this.#held.keys()) if (!wanted.has(key)) this.#drain(key)
    this.#route(desired)
    this.#applied = desired.revision
  }

  #isHeld(key: string): boolean {
    const state = this.#held.get(key)?.state
    return state !== undefined && state !== 'draining'
  }

  #load(key: string): void {
    const held: Held = { state: 'loading', reason: null, since: this.#applied }
    this.#held.set(key, held)
    setTimeout(() => {
      if (this.#held.get(key) !== held) return
      held.reason = this.failures.get(key) ?? null
      held.state = held.reason === null ? 'warm' : 'failed'
      if (this.#desired !== null) this.#route(this.#desired)
    }, this.loadMs.get(key) ?? 0)
  }

  #drain(key: string): void {
    const held = this.#held.get(key)
    if (held === undefined || held.state === 'draining') return
    if (held.state === 'failed' || held.state === 'loading') {
      this.#held.delete(key)
      return
    }
    held.state = 'draining'
    setTimeout(() => {
      if (this.#held.get(key) === held) this.#held.delete(key)
    }, DRAIN_MS)
  }

  #route(desired: DesiredState): void {
    const mapped = new Set(
      desired.services.flatMap(({ serviceId, enabled, mapping }) =>
        enabled ? mapping.map(({ generationId }) => `${serviceId}/${generationId}`) : [],
      ),
    )
    for (const [key, held] of this.#held) {
      if (held.state === 'warm' && mapped.has(key)) held.state = 'active'
      if (held.state === 'active' && !mapped.has(key)) held.state = 'warm'
    }
  }
}

function observedOf(key: string, held: Held): ObservedGeneration {
  const [serviceId = '', generationId = ''] = key.split('/')
  const { state, reason } = held
  const idle = { threads: 1, threadsLost: 0, loadMs: null, queued: 0, running: 0 }
  return {
    serviceId,
    generationId,
    state,
    reason,
    ...idle,
    stoppedEndpoints: [],
    hangs: {},
    runtimes: [],
  }
}

export interface ControlPlane {
  readonly directory: string
  readonly home: Home
  readonly store: LmdbStore
  readonly operations: Operations
  readonly serving: MemoryServing
  readonly forge: MemoryForge
  readonly metrics: MetricsStore
  close(): Promise<void>
}

export interface ControlPlaneOptions {
  /** An earlier control plane's directory, to start where it ended. */
  readonly directory?: string
  readonly keepPreviousMs?: number
  readonly uploadIdleMs?: number
  readonly space?: DiskSpace
  readonly importFolders?: readonly string[]
  readonly forms?: (home: Home) => CompiledForms
  readonly logger?: Logger
  /** For health. */
  readonly copies?: { status(): CopyStatus }
  readonly runtimes?: { view(): RuntimesView; causes(): readonly string[] }
}

export function temporaryDirectory(t: { teardown(callback: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), 'switchyard-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

export async function openControlPlane(
  directory: string,
  options: ControlPlaneOptions = {},
): Promise<ControlPlane> {
  const home = await Home.open(directory)
  const store = await LmdbStore.open(home.state)
  const serving = new MemoryServing()
  const forge = new MemoryForge()
  const metrics = new MetricsStore()
  const operations = await openOperations({
    store,
    home,
    serving,
    forge,
    metrics,
    logger: options.logger ?? SILENT,
    keepPreviousMs: options.keepPreviousMs ?? 60_000,
    drainMs: 1_000,
    ...(options.copies === undefined ? {} : { copies: options.copies }),
    ...(options.runtimes === undefined ? {} : { runtimes: options.runtimes }),
    ...(options.uploadIdleMs === undefined ? {} : { uploadIdleMs: options.uploadIdleMs }),
    ...(options.importFolders === undefined ? {} : { importFolders: options.importFolders }),
    ...(options.space === undefined ? {} : { space: options.space }),
    ...(options.forms === undefined ? {} : { forms: options.forms(home) }),
  })
  const close = async (): Promise<void> => {
    await operations.close()
    await store.close()
    await home.close()
  }
  return { directory, home, store, operations, serving, forge, metrics, close }
}

let uploads = 0

/** Imports as an upload named `name`.zip would. */
export async function upload(
  plane: ControlPlane,
  name: string,
  content: FakeBundle,
  serviceId = 's',
) {
  uploads += 1
  const archivePath = join(plane.directory, `upload-${uploads}`)
  writeFileSync(archivePath, bundle(content))
  const fileName = `${name}.zip`
  const request = { serviceId, archivePath, generationId: null, fileName, actor: 'me' }
  try {
    return await plane.operations.importGeneration(request)
  } finally {
    rmSync(archivePath)
  }
}

export interface AdminListener {
  readonly url: string
  readonly port: number
  close(): Promise<void>
}

export async function listenAdmin(
  plane: ControlPlane,
  options: { readonly metricsPublic?: boolean; readonly logger?: Logger } = {},
): Promise<AdminListener> {
  const logger = options.logger ?? SILENT
  const handler = createAdminApi({
    operations: plane.operations,
    serving: plane.serving,
    metrics: plane.metrics,
    nodeInfo: () => ({
      version: '0.0.0',
      nodeVersion: process.version,
      uptimeS: 1,
      services: plane.operations.listServices().length,
      generationsLoaded: 0,
      generationsCold: 0,
      imports: plane.operations.imports.count,
      serveReplacements: {},
      serveProcesses: {},
      stoppedEndpoints: [],
      processes: [],
    }),
    home: plane.home,
    notAliveFile: join(plane.directory, 'apinode-not-alive.txt'),
    metricsPublic: options.metricsPublic ?? false,
    version: '0.0.0',
    logger,
  })
  const server = await NodeHttpServer.listen(
    {
      host: '127.0.0.1',
      port: 0,
      tlsCert: null,
      tlsKey: null,
      connectionsMax: 100,
      budget: new BodyBudget(4 * 1024 * 1024),
      version: '0.0.0',
      logger,
    },
    handler,
  )
  const { port } = server
  return { url: `http://127.0.0.1:${port}`, port, close: () => server.close(1_000) }
}
