/**
 * What this machine offers to endpoints that are no ONNX model, found out once at start: the
 * interpreters, the tools that hold a child within limits, and the folders children need.
 */

import { type ExecFileOptions, execFile } from 'node:child_process'
import { isAbsolute } from 'node:path'
import type { Config } from '../core/config/config.ts'
import type { RuntimeSettings } from '../core/config/runtimes.ts'
import { findProgram } from './bundle/child-limits.ts'
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
  readonly home: Home
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
  }
}

/** Asks the interpreters for their versions; nothing waits for it, and none has to be there. */
export class RuntimeProbe {
  #view: RuntimesView
  /** Settles when both have answered, or have had their time. */
  readonly done: Promise<void>

  constructor(settings: RuntimeSettings, limitMs = PROBE_MS) {
    const unasked = (path: string | null) => (path === null ? null : { path, version: null })
    const { python, rscript, connections } = settings
    const names = connections.map(({ name }) => name)
    this.#view = { python: unasked(python), r: unasked(rscript), connections: names }
    this.done = this.#ask(settings, limitMs)
  }

  view(): RuntimesView {
    return this.#view
  }

  async #ask(settings: RuntimeSettings, limitMs: number): Promise<void> {
    const { python, rscript, environment } = settings
    const options = { env: { ...environment }, timeout: limitMs, killSignal: 'SIGKILL' } as const
    const [foundPython, foundR] = await Promise.all([
      probe(python, options),
      probe(rscript, options),
    ])
    this.#view = { ...this.#view, python: foundPython, r: foundR }
  }
}

/** `Python 3.11.2`, `Rscript (R) version 4.2.2 (2022-10-31)`: the first number with dots. */
function probe(path: string | null, options: ExecFileOptions): Promise<ProgramView | null> {
  if (path === null) return Promise.resolve(null)
  return new Promise((resolve) => {
    const child = execFile(path, ['--version'], options, (error, stdout, stderr) => {
      const version = /\d+(?:\.\d+)+/.exec(`${stdout} ${stderr}`)?.[0] ?? null
      resolve(error !== null || version === null ? null : { path, version })
    })
    child.unref()
  })
}
