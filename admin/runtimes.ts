/**
 * What this machine offers to endpoints that are no ONNX model, found out once at start: the
 * interpreters, the tools that hold a child within limits, and the folders children need.
 */

import { type ExecFileException, type ExecFileOptions, execFile } from 'node:child_process'
import { isAbsolute } from 'node:path'
import type { Logger } from '../core/base/logger.ts'
import type { Config } from '../core/config/config.ts'
import type { CompiledSettings, RuntimeSettings } from '../core/config/runtimes.ts'
import { findProgram } from './bundle/child-limits.ts'
import { machineHash } from './machine.ts'
import type { Home } from './store/home.ts'

/** All that children get of the node's environment: nothing in it is a secret of the node. */
const ENVIRONMENT = ['PATH', 'LANG', 'LC_ALL', 'TZ', 'LD_LIBRARY_PATH']

/** An interpreter takes milliseconds to say its version; one that does not is no use. */
const PROBE_MS = 5_000

export interface ProgramView {
  readonly path: string
  /** Null until it has said so. */
  readonly version: string | null
}

/** What was found, for health. */
export interface RuntimesView {
  /** Null: there is none, or it does not run. */
  readonly python: ProgramView | null
  readonly r: ProgramView | null
  /** Names of databases. */
  readonly connections: readonly string[]
}

export interface RuntimeSources {
  readonly config: Config
  /** Without a folder for them no models are compiled. */
  readonly home: Pick<Home, 'environments'> & Partial<Pick<Home, 'compiled'>>
  /** See run-directory.ts. */
  readonly runDirectory: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Where this machine reaches the query API, whether it is open already or not. */
  readonly queryUrl: string
}

export function runtimeSettings(sources: RuntimeSources): RuntimeSettings {
  const { config, home, runDirectory, env, queryUrl } = sources
  const path = env['PATH'] ?? ''
  const find = (name: string): string | null => (isAbsolute(name) ? name : findProgram(name, path))
  const kept = ENVIRONMENT.flatMap((name) => {
    const value = env[name]
    return value === undefined ? [] : [[name, value] as const]
  })
  return {
    python: find(config.python ?? 'python3'),
    rscript: find(config.rscript ?? 'Rscript'),
    environments: home.environments,
    runDirectory,
    pipIndexUrl: config.pipIndexUrl,
    children: config.children ?? config.threads,
    childLimits: {
      memoryBytes: config.childMemoryBytes,
      processesMax: config.childProcessesMax,
      fileBytesMax: config.childFileBytesMax,
    },
    // For code that asks other endpoints of its service.
    environment: { ...Object.fromEntries(kept), SWITCHYARD_URL: queryUrl },
    prlimit: findProgram('prlimit', path),
    setpriv: findProgram('setpriv', path),
    connections: config.connections,
    compiled: compiledSettings(config, home),
  }
}

function compiledSettings(
  { compile }: Config,
  { compiled: folder }: RuntimeSources['home'],
): CompiledSettings | null {
  const machine = compile && folder !== undefined ? machineHash() : null
  return machine === null || folder === undefined ? null : { folder, machine }
}

export interface ProbeOptions {
  /** What the operator has named: only of these it is a fault when they do not run. */
  readonly named?: Pick<Config, 'python' | 'rscript'>
  readonly limitMs?: number
}

/** Asks the interpreters for their versions; nothing waits for it, and none has to be there. */
export class RuntimeProbe {
  readonly #named: Pick<Config, 'python' | 'rscript'>
  #view: RuntimesView
  #causes: readonly string[] = []
  /** Settles when both have answered, or have had their time. */
  readonly done: Promise<void>

  constructor(settings: RuntimeSettings, options: ProbeOptions = {}) {
    const { named = { python: null, rscript: null }, limitMs = PROBE_MS } = options
    const unasked = (path: string | null) => (path === null ? null : { path, version: null })
    const { python, rscript, connections } = settings
    const names = connections.map(({ name }) => name)
    this.#named = named
    this.#view = { python: unasked(python), r: unasked(rscript), connections: names }
    this.done = this.#ask(settings, limitMs)
  }

  view(): RuntimesView {
    return this.#view
  }

  /** Interpreters that the operator has named and that do not run, for health. */
  causes(): readonly string[] {
    return this.#causes
  }

  /** For the log of a start. */
  async tell(logger: Logger): Promise<void> {
    await this.done
    const { python, r, connections } = this.#view
    const found = { python: python?.version ?? null, r: r?.version ?? null }
    logger.info({ ...found, connections: connections.length }, 'interpreters and databases')
    for (const reason of this.#causes) logger.warn({ reason }, 'AN INTERPRETER DOES NOT RUN')
  }

  async #ask(settings: RuntimeSettings, limitMs: number): Promise<void> {
    const { python, rscript, environment } = settings
    const options = { env: { ...environment }, timeout: limitMs, killSignal: 'SIGKILL' } as const
    const [foundPython, foundR] = await Promise.all([
      probe(python, options),
      probe(rscript, options),
    ])
    this.#view = { ...this.#view, python: viewOf(foundPython), r: viewOf(foundR) }
    this.#causes = [
      ...causeOf('--python', this.#named.python, foundPython),
      ...causeOf('--rscript', this.#named.rscript, foundR),
    ]
  }
}

/** A program that runs, or a sentence why not. */
type Found = ProgramView | string

function viewOf(found: Found): ProgramView | null {
  return typeof found === 'string' ? null : found
}

function causeOf(flag: string, name: string | null, found: Found): string[] {
  return name === null || typeof found !== 'string' ? [] : [`${flag} ${name}: ${found}`]
}

/** `Python 3.11.2`, `Rscript (R) version 4.2.2 (2022-10-31)`: the first number with dots. */
function probe(path: string | null, options: ExecFileOptions): Promise<Found> {
  if (path === null) return Promise.resolve('there is no such program on the path')
  return new Promise<Found>((resolve) => {
    const child = execFile(path, ['--version'], options, (error, stdout, stderr) => {
      const version = /\d+(?:\.\d+)+/.exec(`${stdout} ${stderr}`)?.[0] ?? null
      if (error !== null) resolve(whyNot(error))
      else resolve(version === null ? 'it does not say its version' : { path, version })
    })
    child.unref()
    // Most of what can be wrong is told to the callback; a path that leads below a file is thrown.
  }).catch((error: ExecFileException) => whyNot(error))
}

function whyNot(error: ExecFileException): string {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return 'there is no such program'
  if (error.code === 'EACCES') return 'it cannot be executed'
  if (error.killed === true) return 'it did not say its version in time'
  return `it ended with ${error.signal ?? `code ${error.code}`} when asked for its version`
}
