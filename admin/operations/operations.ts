/**
 * All that the control plane can do, on one screen: plain functions of plain values, used by the
 * routes of the admin API and by the import of the demo alike.
 */

import { messageOf } from '../../core/base/errors.ts'
import type { GenerationRef } from '../../core/base/ids.ts'
import type { Logger } from '../../core/base/logger.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { Forge, Serving } from '../contracts.ts'
import { SerialQueue, SerialQueues } from '../serial.ts'
import type { Home } from '../store/home.ts'
import { DiskSpace } from '../store/space.ts'
import type { StateStore } from '../store/state-store.ts'
import type { Certificates } from '../tls/certificates.ts'
import * as adminKeys from './admin-keys.ts'
import { type ArchiveImport, importFromArchive } from './archives.ts'
import { Catalog } from './catalog.ts'
import * as cleaning from './cleaning.ts'
import type { CompiledForms } from './compiled-forms.ts'
import { compileMissing, distrustForms, removeUnusedForms } from './compiling.ts'
import { ContentCheck } from './content-check.ts'
import { type Context, type OperationMetrics, SwitchTickets } from './context.ts'
import { removeUnusedEnvironments } from './environments.ts'
import * as generations from './generations.ts'
import { type HealthView, healthView } from './health.ts'
import { ImportBoard } from './import-board.ts'
import { type ImportRequest, importGeneration } from './imports.ts'
import * as keys from './keys.ts'
import * as mapping from './mapping.ts'
import type { MemoryUnits } from './memory.ts'
import { Publisher } from './publisher.ts'
import { recover } from './recovery.ts'
import * as services from './services.ts'
import * as settings from './settings.ts'
import { type Incoming, uploadGeneration } from './uploads.ts'
import * as views from './views.ts'

/** How much of the last use of keys a crash may lose, and how long late counts may show. */
const UPKEEP_EVERY_MS = 60_000

export interface OperationsOptions {
  readonly store: StateStore
  readonly home: Home
  readonly serving: Serving
  readonly forge: Forge
  readonly metrics: OperationMetrics
  readonly logger: Logger
  readonly keepPreviousMs?: number
  readonly drainMs?: number
  /** What memory is estimated with; default: one thread. */
  readonly units?: MemoryUnits
  /** Longest silence of an uploading caller; default LIMITS.uploadIdleMs. */
  readonly uploadIdleMs?: number
  /** Default: none. */
  readonly importFolders?: readonly string[]
  /** Default: asks the file system. */
  readonly space?: DiskSpace
  /** The store was put back to an earlier state: it may not know the newest generations. */
  readonly stateIsOlder?: boolean
  /** How much of the files is read before anything is loaded; see content-check.ts. */
  readonly bytesCheckedAtStart?: number
  /** Default: models are served as they are in their bundles. */
  readonly forms?: CompiledForms
  /** For health. */
  readonly certificates?: Certificates
  readonly copies?: NonNullable<Context['copies']>
  readonly runtimes?: NonNullable<Context['runtimes']>
}

export type Operations = ReturnType<typeof createOperations>

/** Reads the state, puts the data directory in order and publishes the first desired state. */
export async function openOperations(options: OperationsOptions): Promise<Operations> {
  const catalog = await Catalog.load(options.store)
  const { home, logger } = options
  // An empty state beside full directories is no crash of ours: somebody lost or removed it.
  const stateIsOlder = options.stateIsOlder === true || catalog.isEmpty()
  const forms = options.forms ?? null
  await recover({ home, catalog, forms, logger, stateIsOlder })
  const { bytesCheckedAtStart: bytesAtStart } = options
  const check = new ContentCheck({
    ...{ home, catalog, logger },
    ...(bytesAtStart === undefined ? {} : { bytesAtStart }),
  })
  await check.atStart()
  const operations = createOperations(contextOf(options, catalog), check)
  operations.publish()
  return operations
}

function contextOf(options: OperationsOptions, catalog: Catalog): Context {
  const { home, serving, logger, metrics } = options
  const publisher = new Publisher({
    catalog,
    serving,
    directoryOf: (serviceId, generationId) => home.directoryOf(serviceId, generationId),
    keepPreviousMs: options.keepPreviousMs ?? LIMITS.keepPreviousMs,
    drainMs: options.drainMs ?? LIMITS.drainMs,
    lastUse: ({ id, lastUse = null }) => metrics.lastCall(id) ?? lastUse,
    units: options.units ?? { threads: 1, children: null, processes: 1 },
    forms: options.forms ?? null,
    logger,
  })
  catalog.onReload(() => publisher.publish())
  return {
    catalog,
    publisher,
    serving,
    forge: options.forge,
    home,
    metrics,
    logger,
    perService: new SerialQueues(),
    forging: new SerialQueue(),
    forms: options.forms ?? null,
    imports: new ImportBoard(options.space ?? new DiskSpace(home.generations), logger),
    uploadIdleMs: options.uploadIdleMs ?? LIMITS.uploadIdleMs,
    importFolders: options.importFolders ?? [],
    switches: new SwitchTickets(),
    certificates: options.certificates ?? null,
    runtimes: options.runtimes ?? null,
    copies: options.copies ?? null,
  }
}

function tidyUp(context: Context): Promise<unknown> {
  const { catalog, metrics } = context
  metrics.keepOnly((serviceId, generationId) =>
    generationId === null
      ? catalog.findService(serviceId) !== null
      : catalog.findGeneration(serviceId, generationId) !== null,
  )
  return Promise.all([keys.saveKeyUse(context), services.saveUse(context)])
}

function keepUp(context: Context): void {
  void tidyUp(context)
  // Those of refused imports, and of what was deleted while another import was under way.
  void removeUnusedEnvironments(context)
  void keepForms(context)
}

/** They are looked at again and again, so who is busy now need not be waited for. */
async function keepForms(context: Context): Promise<void> {
  try {
    await removeUnusedForms(context)
    await compileMissing(context)
  } catch (error) {
    context.logger.warn({ reason: messageOf(error) }, 'compiled forms could not be looked after')
  }
}

function createOperations(context: Context, check: ContentCheck) {
  const { catalog, publisher } = context
  const upkeep = setInterval(() => keepUp(context), UPKEEP_EVERY_MS)
  upkeep.unref()
  return {
    /** Sends the desired state as it is; returns its revision. */
    publish: () => publisher.publish(),
    /** Once the node is ready: reads the files that were not read at start. */
    checkContents: () =>
      check.afterwards({
        isHeld: ({ serviceId, id }) => publisher.isHeld({ serviceId, generationId: id }),
        publish: () => void publisher.publish(),
      }),
    /** Once the node is ready: makes the forms of models that this machine has not. */
    compileModels: () => keepForms(context),
    distrust: (refs: readonly GenerationRef[]) => distrustForms(context, refs),
    /** No timer is left afterwards; the store is closed by its owner. */
    close: async () => {
      publisher.close()
      clearInterval(upkeep)
      await check.close()
      await tidyUp(context)
    },

    health: (): HealthView => healthView(context),

    coldCount: () => views.coldCount(context),
    listServices: () =>
      catalog.services().map((record) => views.serviceSummaryView(context, record)),
    getService: (id: string) => views.serviceView(context, catalog.service(id)),
    createService: async (id: string, actor: string) =>
      views.serviceSummaryView(context, await services.createService(context, id, actor)),
    deleteService: (id: string, actor: string) => services.deleteService(context, id, actor),
    enableService: (id: string, actor: string) => services.enableService(context, id, actor),
    getSettings: (id: string) => settings.settingsView(catalog.service(id)),
    changeSettings: async (change: settings.SettingsChange) => {
      await settings.changeSettings(context, change)
      return settings.settingsView(catalog.service(change.serviceId))
    },
    disableService: (id: string, actor: string) => services.disableService(context, id, actor),

    ...generationOperations(context),
    ...keyOperations(context),
  }
}

function generationOperations(context: Context) {
  return {
    listGenerations: (serviceId: string) => views.generationSummaries(context, serviceId),
    getGeneration: (ref: GenerationRef) => views.generationOrImportView(context, ref),
    importGeneration: async (request: ImportRequest) =>
      views.generationSummaryView(context, await importGeneration(context, request)),
    uploadGeneration: async (upload: Incoming) =>
      views.generationSummaryView(context, await uploadGeneration(context, upload)),
    importFromArchive: async (request: ArchiveImport) =>
      views.generationSummaryView(context, await importFromArchive(context, request)),
    imports: context.imports,
    deleteGeneration: (ref: GenerationRef, actor: string) =>
      generations.deleteGeneration(context, ref, actor),
    preloadGeneration: (ref: GenerationRef) => generations.preloadGeneration(context, ref),
    unloadGeneration: (ref: GenerationRef) => generations.unloadGeneration(context, ref),
    switchTo: (ref: GenerationRef, actor: string) => mapping.switchTo(context, ref, actor),
    switchAndEnable: (ref: GenerationRef, actor: string) =>
      mapping.switchAndEnable(context, ref, actor),
    switchToNewest: (serviceId: string, actor: string) =>
      mapping.switchToNewest(context, serviceId, actor),
    setMapping: (wanted: Parameters<typeof mapping.setMapping>[1]) =>
      mapping.setMapping(context, wanted),

    cleanUnused: (actor: string) => cleaning.cleanUnused(context, actor),
    cleanEnvironments: () => cleaning.cleanEnvironments(context),
  }
}

/** Keys that call services, and keys of the admin API. */
function keyOperations(context: Context) {
  const { catalog } = context
  return {
    ensureAdminKey: (envSecret: string | null, keep?: adminKeys.KeepSecret) =>
      adminKeys.ensureAdminKey(context, envSecret, keep),
    verifyAdmin: (authorization: string) => adminKeys.verifyAdmin(context, authorization),
    listAdminKeys: () => catalog.adminKeys().map(views.adminKeyView),
    createAdminKey: async (wanted: adminKeys.NewAdminKey, actor: string) => {
      const { record, secret } = await adminKeys.createAdminKey(context, wanted, actor)
      return { ...views.adminKeyView(record), key: secret }
    },
    deleteAdminKey: (id: string, actor: string) => adminKeys.deleteAdminKey(context, id, actor),
    deleteAdminKeyBySecret: (secret: string, actor: string) =>
      adminKeys.deleteAdminKeyBySecret(context, secret, actor),
    listKeys: () => catalog.keys().map((record) => views.keyView(context, record)),
    getKey: (id: string) => views.keyView(context, catalog.key(id)),
    createKey: async (wanted: keys.NewKey, actor: string) => {
      const { record, secret } = await keys.createKey(context, wanted, actor)
      return { ...views.keyView(context, record), key: secret }
    },
    setQuota: async (change: keys.QuotaChange) =>
      views.keyView(context, await keys.setQuota(context, change)),
    deleteKey: (id: string, actor: string) => keys.deleteKey(context, id, actor),
  }
}
