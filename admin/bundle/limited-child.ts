/**
 * Starts a compiled entry as a child process that may hang, abort or eat memory without anyone else
 * noticing: what all who work on the models of strangers have in common.
 *
 * It gets an address space limit (`prlimit`), dies with its parent (`setpriv --pdeathsig`), leads
 * its own process group so that SIGKILL reaches all it started, runs in a node at a lower priority
 * than predictions, and inherits no environment but what is listed here.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { TELEMETRY } from '../../core/config/telemetry.ts'
import { lowerPriority } from './child-limits.ts'

export interface ChildTools {
  /** Paths of the two programs; null where the system has none (macOS): memory is then polled. */
  readonly prlimit: string | null
  readonly setpriv: string | null
  /** Of the parent; only ENVIRONMENT of it is passed on. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cores: number
  /** A person waits for it, and no predictions are made here that must come first. */
  readonly awaited?: true
}

export interface ChildBounds {
  readonly memoryBytes: number
  /** Of one core. */
  readonly cpuMs: number
  /** Longest file that it may write; absent: any. */
  readonly fileBytes?: number
}

const ENVIRONMENT = ['PATH', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'LD_LIBRARY_PATH']

/** glibc reserves 64 MB of address space per arena, and without this makes 8 arenas per core. */
const ALLOCATOR = { MALLOC_ARENA_MAX: '4' }
/**
 * V8 reserves some 10 GB of address space around the memory of each WebAssembly module, Node's own
 * HTTP parser for fetch() among them: more than the limit allows. Not in Node before 20.15.
 */
const GUARD_FLAG = '--disable-wasm-trap-handler'
const NO_GUARD_REGIONS = process.allowedNodeEnvironmentFlags.has(GUARD_FLAG) ? [GUARD_FLAG] : []
/**
 * Without guard regions V8 reserves what the memory of a module may grow to: 4 GiB or, within the
 * limit, nearly all that is left of it. Node's own modules stay far below 64 MiB.
 */
const SMALL_WASM = '--wasm-max-mem-pages=1024'
const QUIET = { [TELEMETRY.name]: TELEMETRY.off }

export function startLimited(
  entry: string,
  { memoryBytes, cpuMs, fileBytes }: ChildBounds,
  { prlimit, setpriv, env, cores, awaited }: ChildTools,
): ChildProcess {
  const cpuS = Math.ceil(cpuMs / 1000) * cores
  const file = fileBytes === undefined ? [] : [`--fsize=${Math.ceil(fileBytes)}`]
  const command = [
    ...(prlimit === null
      ? []
      : // Only the soft limit of memory: what its children may have is not for it to lower.
        [prlimit, `--as=${Math.ceil(memoryBytes)}:`, `--cpu=${cpuS}`, ...file, '--']),
    ...(setpriv === null ? [] : [setpriv, '--pdeathsig', 'KILL']),
    process.execPath,
    ...NO_GUARD_REGIONS,
    SMALL_WASM,
    entry,
  ]
  const [program = process.execPath, ...args] = command
  const kept = ENVIRONMENT.map((name) => [name, env[name]] as const)
  const child = spawn(program, args, {
    detached: true,
    env: {
      ...Object.fromEntries(kept.filter(([, value]) => value !== undefined)),
      ...ALLOCATOR,
      ...QUIET,
    },
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  if (awaited !== true) lowerPriority(child)
  return child
}
