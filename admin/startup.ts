/**
 * Brings the parts of a node up in the one order that is safe, and down again in reverse.
 *
 * Ports are looked at before anything is started; the state is open before serve runs; queries are
 * accepted when what comes into memory first is loaded; the admin API comes last, because what it
 * does needs all the others. Whatever fails on the way, all that was opened is closed again.
 */

import { AppError, messageOf } from '../core/base/errors.ts'
import { collectGarbage } from '../core/base/garbage.ts'
import type { Logger } from '../core/base/logger.ts'
import { COMPILED_WEIGHTS_MIN } from '../core/bundle/compiled.ts'
import type { ServeConfig } from '../core/channel/messages.ts'
import type { Config } from '../core/config/config.ts'
import { LIMITS } from '../core/config/limits.ts'
import type { RuntimeSettings } from '../core/config/runtimes.ts'
import type { NodeHttpServer } from '../core/http/node-http.ts'
import { MetricsStore } from '../core/metrics/store.ts'
import { notAliveFile, openAdminApi } from './api.ts'
import { type Compiler, type CompilerOptions, createCompiler } from './bundle/compile-client.ts'
import { type ClosableForge, createForge, type ForgeOptions } from './bundle/forge-client.ts'
import { demoCurl, importDemo } from './demo.ts'
import { prepareFirstKey } from './first-key.ts'
import { urlOf } from './greeting.ts'
import { importFoldersOf } from './operations/archives.ts'
import { CompiledForms } from './operations/compiled-forms.ts'
import { type Operations, openOperations } from './operations/operations.ts'
import { pickPort, whyNotFree, whyShared } from './ports.ts'
import { openRunDirectory } from './run-directory.ts'
import { RuntimeProbe, runtimeSettings } from './runtimes.ts'
import { Fleet, type FleetOptions } from './serving/fleet.ts'
import type { Launch } from './serving/serve-process.ts'
import {
  capacityOf,
  memoryBytesOfEach,
  readTcpMigrateReq,
  unreadBytesOf,
} from './serving/system.ts'
import { Home } from './store/home.ts'
import { type OpenedState, openState } from './store/opener.ts'
import { refuseAsRoot } from './store/owner.ts'
import { Certificates } from './tls/certificates.ts'
import { type CurlTarget, curlTarget, warnOfClearText } from './tls/hints.ts'

/** How often each serving process is asked for its counts, which also shows that it lives. */
const BEAT_EVERY_MS = 5_000
/** Longest wait at the end for imports to remove what they had staged. */
const IMPORTS_END_MS = 5_000

export interface NodeOptions {
  readonly config: Config
  readonly version: string
  readonly launch: Launch
  readonly forge: Omit<
    ForgeOptions,
    'memoryBytesMin' | 'timeMs' | 'runtimes' | 'issuers' | 'logger'
  >
  readonly compiler: Pick<CompilerOptions, 'entry' | 'prlimit' | 'setpriv' | 'env' | 'cores'>
  /** Folder of demo.json and its bundles. */
  readonly demoFolder: string
  /** True: a person will read the first admin key; else it is kept in a file. */
  readonly keyIsShown: boolean
  /** Aborted when somebody wants the node to end before it is up. */
  readonly aborted: AbortSignal
  readonly logger: Logger
}

export interface RunningNode {
  readonly url: string
  readonly adminUrl: string
  readonly firstAdminKey: string | null
  /** Somebody has read it: it need not lie in a file any more. */
  firstKeyWasShown(): Promise<void>
  readonly demoCurl: string | null
  readonly adminCurl: CurlTarget
  /** Answers what is in flight, closes everything. */
  stop(): Promise<void>
  /** For a second signal: nothing is waited for. */
  kill(): void
}

/** A start that cannot succeed; the message is the one line that the user reads. */
class StartError extends AppError {
  constructor(line: string) {
    super('ERR_STARTING', line)
  }
}

/** What was opened so far, to be closed in reverse. */
class Opened {
  readonly #closers: (() => unknown)[] = []

  onClose(closer: () => unknown): void {
    this.#closers.push(closer)
  }

  async close(logger: Logger): Promise<void> {
    for (let closer = this.#closers.pop(); closer; closer = this.#closers.pop()) {
      try {
        await closer()
      } catch (error) {
        // The rest must be closed all the same.
        logger.error({ reason: messageOf(error) }, 'closing failed')
      }
    }
  }
}

export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const opened = new Opened()
  try {
    return await openAll(options, opened)
  } catch (error) {
    await opened.close(options.logger)
    throw error
  }
}

async function openAll(options: NodeOptions, opened: Opened): Promise<RunningNode> {
  const { config, logger } = options
  const certificates = new Certificates(config, logger)
  warnOfClearText(config, logger)
  await checkPorts(config)
  const parts = await openParts(options, opened, certificates)
  const { operations, fleet, home } = parts
  const { keyIsShown } = options
  const firstKey = await prepareFirstKey({ home, logger, keyIsShown }, (keep) =>
    operations.ensureAdminKey(config.adminKey, keep),
  )
  const queryPort = await openQueries(options, parts, opened)
  const admin = await openAdmin(options, parts)
  opened.onClose(() => admin.close(config.drainMs))

  certificates.watch({
    replaceServing: (sinceMs) => fleet.replace('certificates', sinceMs),
    secureAdmin: (material) => admin.secure(material),
  })
  const url = urlOf(config.tlsCert !== null, config.host, queryPort)
  const adminUrl = urlOf(config.adminTlsCert !== null, config.adminHost, admin.port)
  if (config.demo ?? parts.state.isNew) await demo(options, parts)
  operations.checkContents()
  void operations.compileModels()
  void parts.state.store.pack().then(collectGarbage)
  return {
    url,
    adminUrl,
    firstAdminKey: options.keyIsShown ? firstKey.secret : null,
    firstKeyWasShown: () => firstKey.wasShown(),
    demoCurl: await demoCurl(operations, options.demoFolder, curlTarget(certificates.query, url)),
    adminCurl: curlTarget(certificates.admin, adminUrl),
    stop: async () => {
      certificates.close()
      // They may take hours, so they are not waited for; their callers are told at once.
      endImports(parts)
      // At the same time: both have `drainMs`, and an operation under way may need serve.
      await Promise.all([admin.close(config.drainMs), fleet.stop()])
      await opened.close(logger)
    },
    kill: () => {
      fleet.kill()
      parts.forge.close()
      parts.compiler.close()
    },
  }
}

/** Those that still receive, and the one that is tried; what is being committed ends by itself. */
function endImports({
  operations,
  forge,
  compiler,
}: Pick<Parts, 'operations' | 'forge' | 'compiler'>): void {
  operations.imports.stop()
  forge.close()
  compiler.close()
}

async function openAdmin(options: NodeOptions, parts: Parts): Promise<NodeHttpServer> {
  const { config, version, logger } = options
  try {
    return await openAdminApi({ ...parts, config, version, logger })
  } catch (error) {
    // It was free a moment ago; somebody was faster.
    throw new StartError(`--admin-port ${config.adminPort}: ${messageOf(error)}`)
  }
}

async function demo(options: NodeOptions, parts: Parts): Promise<void> {
  const cancel = (): void => parts.forge.close()
  options.aborted.addEventListener('abort', cancel)
  await importDemo(parts.operations, options.demoFolder, options.logger)
  options.aborted.removeEventListener('abort', cancel)
  options.aborted.throwIfAborted()
}

interface Parts {
  readonly home: Home
  readonly state: OpenedState
  readonly forge: ClosableForge
  readonly compiler: Compiler
  readonly metrics: MetricsStore
  readonly fleet: Fleet
  readonly operations: Operations
  readonly certificates: Certificates
}

async function openParts(
  options: NodeOptions,
  opened: Opened,
  certificates: Certificates,
): Promise<Parts> {
  const { config, logger } = options
  const home = await openHome(config)
  opened.onClose(() => home.close())
  const tlsFile = certificates.stage(home.root)
  opened.onClose(() => certificates.close())
  const state = await openState({ home, logger })
  opened.onClose(() => state.close())

  const port = config.port === 0 ? await pickPort(config.host) : config.port
  const metrics = new MetricsStore()
  const run = openRunDirectory(home.root)
  opened.onClose(() => run.discard())
  const { env } = options.forge
  const queryUrl = urlOf(config.tlsCert !== null, config.host, port)
  const runtimes = runtimeSettings({ config, home, runDirectory: run.path, env, queryUrl })
  const serving = {
    ...serveConfig(options, home, runtimes),
    tlsCert: tlsFile,
    tlsKey: tlsFile,
    port,
  }
  // Nothing serves, and so nothing crashes, before the operations are open.
  const onCrash: FleetParts['onCrash'] = (suspects) => void operations.distrust(suspects)
  const fleet = newFleet(options, { config: serving, home, metrics, onCrash })
  const memoryBytesMin = config.forgeMemoryBytes
  const { forgeMs: timeMs } = config
  const issuers = config.issuers.map(({ name, audiences }) => ({ name, audiences }))
  const limits = { memoryBytesMin, timeMs }
  const forge = createForge({ ...options.forge, ...limits, runtimes, issuers, logger })
  opened.onClose(() => forge.close())
  const compiler = createCompiler({ ...options.compiler, ...limits, runtimes })
  opened.onClose(() => compiler.close())

  const { keepPreviousMs, drainMs } = config
  const importFolders = importFoldersOf(config.importFolders)
  const { store, copies, mayBeOlder: stateIsOlder } = state
  const kept = { store, copies, stateIsOlder }
  const times = { keepPreviousMs, drainMs }
  const { threads, children, processes } = config
  const units = { threads, children, processes }
  const common = { ...kept, ...times, units, home, forge, metrics, logger, importFolders }
  const probe = new RuntimeProbe(runtimes, { named: config })
  void probe.tell(logger)
  const found = { certificates, runtimes: probe }
  const forms = formsOf(options, runtimes, compiler)
  const operations = await openOperations({ ...common, serving: fleet, ...found, ...forms })
  opened.onClose(() => operations.close())
  opened.onClose(async () => {
    // They take what they had staged with them.
    endImports({ operations, forge, compiler })
    await operations.imports.whenIdle(IMPORTS_END_MS)
  })
  return { home, state, forge, compiler, metrics, fleet, operations, certificates }
}

function formsOf(
  { config, logger }: NodeOptions,
  { compiled: settings }: RuntimeSettings,
  compiler: Compiler,
): { readonly forms?: CompiledForms } {
  if (settings === null) return {}
  const bytesMax = config.compiledBytesMax
  const weightBytesMin = COMPILED_WEIGHTS_MIN
  const { compile } = compiler
  return { forms: new CompiledForms({ settings, bytesMax, weightBytesMin, compile, logger }) }
}

/** The port on which queries are answered, once all that is active has loaded. */
async function openQueries(options: NodeOptions, parts: Parts, opened: Opened): Promise<number> {
  const { fleet } = parts
  opened.onClose(() => fleet.stop())
  options.aborted.throwIfAborted()
  options.aborted.addEventListener('abort', () => fleet.giveUp('the node is stopping'))
  fleet.start()
  const queries = await fleet.open()
  options.aborted.throwIfAborted()
  if (queries.kind === 'failed') {
    const { port } = options.config
    throw new StartError(`queries cannot be served on --port ${port}: ${queries.reason}`)
  }
  const pids = fleet.status().processes.flatMap(({ pid }) => pid ?? [])
  const shared = await whyShared({ port: queries.port, flag: '--port' }, pids)
  if (shared !== null) throw new StartError(shared)
  return queries.port
}

interface FleetParts {
  readonly config: ServeConfig
  readonly home: Home
  readonly metrics: MetricsStore
  readonly onCrash: NonNullable<FleetOptions['onCrash']>
}

function newFleet(options: NodeOptions, { config, home, metrics, onCrash }: FleetParts): Fleet {
  const { launch, logger } = options
  const tcpMigrateReq = readTcpMigrateReq()
  if (tcpMigrateReq === false) {
    const sysctl = 'net.ipv4.tcp_migrate_req'
    const text = 'is 0: a connection that is being made while a process is replaced may be reset'
    logger.info({ sysctl }, `${sysctl} ${text}; 1 saves it, see README`)
  }
  return new Fleet({
    launch,
    config,
    metrics,
    beatEveryMs: BEAT_EVERY_MS,
    memoryBytesMax: options.config.serveMemoryBytes ?? memoryBytesOfEach(config.processes),
    witnessPath: () => home.stagingPath('witness'),
    tcpMigrateReq,
    onCrash,
    logger,
  })
}

async function checkPorts(config: Config): Promise<void> {
  const wishes = [
    { host: config.host, port: config.port, flag: '--port' },
    { host: config.adminHost, port: config.adminPort, flag: '--admin-port' },
  ]
  for (const wish of wishes) {
    const reason = await whyNotFree(wish)
    if (reason !== null) throw new StartError(reason)
  }
}

async function openHome(config: Config): Promise<Home> {
  try {
    const home = await Home.open(config.home)
    await refuseAsRoot(home).catch(async (error: unknown) => {
      await home.close()
      throw error
    })
    return home
  } catch (error) {
    throw new StartError(`${messageOf(error)}; choose another data directory with --home`)
  }
}

function serveConfig(
  options: NodeOptions,
  home: Home,
  runtimes: RuntimeSettings,
): Omit<ServeConfig, 'port' | 'tlsCert' | 'tlsKey'> {
  const { config } = options
  return {
    host: config.host,
    threads: config.threads,
    modelCores: config.modelCores,
    strictHeaders: config.strictHeaders,
    bodyBytesMax: config.bodyBytesMax,
    bodyBytesTotalMax: LIMITS.bodyBytesTotalMax,
    unreadBytesMax: unreadBytesOf(config),
    connectionsMax: config.connectionsMax,
    hangMs: config.hangMs,
    drainMs: config.drainMs,
    capacity: capacityOf(config),
    notAliveFile: notAliveFile(home),
    version: options.version,
    logLevel: config.logLevel,
    processes: config.processes,
    place: 0,
    witnessFile: null,
    runtimes,
    issuers: config.issuers,
    queryLog: {
      directory: home.queryLog,
      fileBytesMax: LIMITS.queryLogFileBytesMax,
      totalBytesMax: LIMITS.queryLogTotalBytesMax,
    },
  }
}
