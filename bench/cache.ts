/**
 * The folder for what the benchmarks make once and use often: models, bundles, Python environments,
 * a data directory with a thousand services. Outside of the project, since it holds gigabytes.
 */

import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'

export function cacheFolder(): string {
  const base = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache')
  return process.env['SWITCHYARD_BENCH_CACHE'] ?? join(base, 'switchyard-bench')
}

/** Writes a file unless it is there. Renamed into place: a run that is ended leaves no half. */
export function cachedFile(path: string, make: () => Buffer | string): string {
  if (existsSync(path)) return path
  mkdirSync(dirname(path), { recursive: true })
  const part = `${path}.${process.pid}`
  try {
    writeFileSync(part, make())
    renameSync(part, path)
  } finally {
    rmSync(part, { force: true })
  }
  return path
}
