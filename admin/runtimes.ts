/**
 * What this machine offers to endpoints that are no ONNX model, found out once at start: the
 * interpreters, the tools that hold a child within limits, and the folders children need.
 */

import { isAbsolute, join } from 'node:path'
import type { Config } from '../core/config/config.ts'
import type { RuntimeSettings } from '../core/config/runtimes.ts'
import { findProgram } from './bundle/child-limits.ts'
import type { Home } from './store/home.ts'

/** All that children get of the node's environment: nothing in it is a secret of the node. */
const ENVIRONMENT = ['PATH', 'LANG', 'LC_ALL', 'TZ', 'LD_LIBRARY_PATH']

export interface RuntimeSources {
  readonly config: Config
  readonly home: Home
  readonly env: Readonly<Record<string, string | undefined>>
}

export function runtimeSettings({ config, home, env }: RuntimeSources): RuntimeSettings {
  const path = env['PATH'] ?? ''
  const find = (name: string): string | null => (isAbsolute(name) ? name : findProgram(name, path))
  const kept = ENVIRONMENT.flatMap((name) => {
    const value = env[name]
    return value === undefined ? [] : [[name, value] as const]
  })
  return {
    python: find(config.python ?? 'python3'),
    rscript: find(config.rscript ?? 'Rscript'),
    environments: join(home.root, 'environments'),
    runDirectory: join(home.root, 'run'),
    pipIndexUrl: config.pipIndexUrl,
    children: config.children ?? config.threads,
    childLimits: {
      memoryBytes: config.childMemoryBytes,
      processesMax: config.childProcessesMax,
      fileBytesMax: config.childFileBytesMax,
    },
    environment: Object.fromEntries(kept),
    prlimit: findProgram('prlimit', path),
    setpriv: findProgram('setpriv', path),
    connections: config.connections,
  }
}
