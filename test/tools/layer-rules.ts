/**
 * Which file may import which: folders, native libraries, and whether anybody imports it at all.
 *
 * Arrows point one way, so that each part can be read, tested and replaced alone: dispatch knows no
 * HTTP, HTTP knows no model, the serving process cannot reach LMDB, a thread loads few small files.
 */

import { folderOf, importsOf, layerOf, packageOf, type Source } from './source.ts'

/** What is wrong, one sentence each, opening with the place. */
export type Faults = readonly string[]

/** Which layers of core/ each layer may use beside itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'core/base': [],
  'core/config': ['base'],
  'core/bundle': ['base', 'config'],
  'core/children': ['base', 'config'],
  'core/metrics': ['base', 'config'],
  'core/openapi': ['base', 'config', 'bundle'],
  'core/http': ['base', 'config'],
  'core/channel': ['base', 'config', 'bundle', 'children', 'metrics'],
  'core/auth': ['base', 'config', 'bundle', 'children', 'channel', 'http'],
  'core/dispatch': ['base', 'config', 'bundle', 'metrics', 'auth'],
  'core/engine': [
    ...['base', 'config', 'bundle', 'children', 'metrics', 'channel', 'dispatch', 'auth'],
  ],
  'core/query': [
    ...['base', 'config', 'bundle', 'metrics', 'channel', 'dispatch'],
    ...['engine', 'http', 'auth', 'openapi'],
  ],
  'core/query-log': ['base', 'config', 'channel', 'dispatch', 'metrics'],
  workers: ['base', 'bundle', 'children'],
  admin: ['base', 'config', 'bundle', 'children', 'auth', 'channel', 'http', 'metrics', 'openapi'],
}

/** Single files that a layer may import although it may not import their layer. */
const MAY_ALSO: Readonly<Record<string, readonly string[]>> = {
  workers: ['core/channel/job-slot.ts', 'core/config/limits.ts', 'core/config/runtimes.ts'],
  'core/channel': ['workers/protocol.ts'],
  'core/dispatch': ['workers/protocol.ts'],
  'core/engine': ['workers/protocol.ts'],
  'core/query': ['workers/protocol.ts'],
  admin: ['workers/protocol.ts'],
}

/** The composition roots: they read the environment, write to the console and exit. */
export const ROOTS = [
  'core/main.ts',
  'core/serve.ts',
  'core/preflight.mjs',
  'core/switchyard.mjs',
  'core/query-log/writer-main.ts',
  'core/openapi/writer-main.ts',
  'admin/control.ts',
  'admin/cli/main.ts',
  'admin/store/store-main.ts',
  'workers/drafts/main.ts',
  'workers/forge/main.ts',
  'workers/compile/main.ts',
]

/** Files that nobody imports: something starts them by path. */
const STARTED = [...ROOTS, 'workers/worker.ts']

export function layers(source: Source): Faults {
  const from = layerOf(source.path)
  if (from === 'bench' || from === 'test') return []
  return importsOf(source)
    .map((one) => one.target ?? '')
    .filter((target) => target !== '' && !mayImport(source.path, from, target))
    .map((target) => `${source.path}: ${from} may not import ${target}`)
}

function mayImport(path: string, from: string, target: string): boolean {
  const to = layerOf(target)
  // The entry picks the role; a composition root builds its process out of all layers below.
  if (path === 'core/main.ts') return ROOTS.includes(target)
  if (from === 'core') return to.startsWith('core') || target === 'workers/protocol.ts'
  if (to === from || (MAY_ALSO[from] ?? []).includes(target)) return true
  return (MAY_IMPORT[from] ?? []).some((name) => to === `core/${name}`)
}

/** Where a library with native code or a surface of its own may be imported. */
const LIBRARY_FOLDERS: Readonly<Record<string, readonly string[]>> = {
  'onnxruntime-node': ['workers/onnx'],
  piscina: ['core/engine'],
  lmdb: ['admin/store', 'workers/lookup'],
  unzipper: ['workers/forge'],
  '@duckdb/node-api': ['workers/sql'],
  pg: ['workers/sql'],
  mysql2: ['workers/sql'],
  papaparse: ['workers/lookup'],
  'uWebSockets.js': ['core/http'],
  'hdr-histogram-js': ['core/metrics'],
  busboy: ['admin/bundle', 'admin/routes'],
  commander: ['core/config', 'admin/cli'],
  yazl: ['admin/bundle'],
  pino: ['core', 'core/base', 'core/config', 'admin', 'workers/forge'],
}

/** One importer per library and folder: its quirks have one home. Types cost nothing. */
export function libraries(sources: readonly Source[]): Faults {
  const homes = new Map<string, string>()
  return sources
    .filter((source) => !/^(bench|test)\//.test(source.path))
    .flatMap((source) =>
      importsOf(source)
        .filter((one) => one.target === null && !one.specifier.startsWith('node:'))
        .flatMap((one) => libraryFaults(source, packageOf(one.specifier), one.typeOnly, homes)),
    )
}

function libraryFaults(
  source: Source,
  library: string,
  typeOnly: boolean,
  homes: Map<string, string>,
): Faults {
  const folder = folderOf(source.path)
  const allowed = LIBRARY_FOLDERS[library]
  if (allowed === undefined) return []
  if (!allowed.includes(folder)) {
    return [`${source.path}: only ${allowed.join(', ')} may import ${library}`]
  }
  if (typeOnly) return []
  const key = `${folder} ${library}`
  const home = homes.get(key) ?? source.path
  homes.set(key, home)
  return home === source.path ? [] : [`${source.path}: ${home} imports ${library} already`]
}

/** Files of the product that no entry reaches; tests do not count, they reach everything. */
export function deadFiles(sources: readonly Source[]): Faults {
  const byPath = new Map(sources.map((source) => [source.path, source]))
  const reached = new Set<string>()
  const waiting = [...STARTED]
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const source = byPath.get(path)
    if (source === undefined || reached.has(path)) continue
    reached.add(path)
    waiting.push(...importsOf(source).flatMap((one) => one.target ?? []))
  }
  return sources
    .map((source) => source.path)
    .filter((path) => !/^(bench|test)\//.test(path) && !reached.has(path))
    .map((path) => `${path}: nothing that is started imports it`)
}
