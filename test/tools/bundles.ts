/**
 * The example bundles of bench/bundles/, one for each endpoint type, as archives; and all of them
 * in one bundle, which is what a node has to carry that serves everything at once.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../bench/paths.ts'
import { zip } from '../../bench/workloads/zip-writer.ts'

const FOLDER = join(ROOT, 'bench/bundles')

interface ExampleEndpoint {
  readonly id: string
  readonly type: string
  readonly testQueries: readonly { readonly q: object; readonly expect: unknown }[]
}

interface ExampleManifest {
  readonly endpoints: readonly ExampleEndpoint[]
  readonly tables?: readonly object[]
}

export function exampleNames(): string[] {
  return readdirSync(FOLDER).sort()
}

/** As a person would zip the folder. */
export function exampleBundle(name: string): Buffer {
  return zip(filesOf(name))
}

/** One endpoint of every type; ids that two examples share get the example's name behind them. */
export function allTypesBundle(generationId: string, without: readonly string[] = []) {
  const names = exampleNames().filter((name) => !without.includes(name))
  const manifests = names.map((name) => [name, manifestOf(name)] as const)
  const ids = manifests.flatMap(([, { endpoints }]) => endpoints.map(({ id }) => id))
  const isShared = (id: string) => ids.filter((other) => other === id).length > 1
  const endpoints = manifests.flatMap(([name, manifest]) =>
    manifest.endpoints.map((one) => ({
      ...one,
      id: isShared(one.id) ? `${one.id}-${name}` : one.id,
    })),
  )
  const tables = manifests.flatMap(([, manifest]) => manifest.tables ?? [])
  const manifest = { formatVersion: 1, generationId, authorization: 'PUBLIC', tables, endpoints }
  const files = new Map(names.flatMap(filesOf).map((file) => [file.name, file]))
  files.set('service.json', { name: 'service.json', data: Buffer.from(JSON.stringify(manifest)) })
  return { archive: zip([...files.values()]), endpoints }
}

function filesOf(name: string) {
  const folder = join(FOLDER, name)
  return readdirSync(folder).map((file) => ({ name: file, data: readFileSync(join(folder, file)) }))
}

function manifestOf(name: string): ExampleManifest {
  return JSON.parse(readFileSync(join(FOLDER, name, 'service.json'), 'utf8'))
}

const VERBS: Readonly<Record<string, string>> = {
  PYTHON_FUNCTION: 'run',
  R_FUNCTION: 'run',
  SQL_QUERY: 'query',
  DATASET_LOOKUP: 'lookup',
}

/** Last part of an endpoint's path. */
export function verbOf(type: string): string {
  return VERBS[type] ?? 'predict'
}

/** The part of an answer that test queries speak of. */
export function answered(type: string, body: ReturnType<typeof JSON.parse>): unknown {
  if (verbOf(type) === 'run') return body.response
  if (type === 'SQL_QUERY') return body
  return type === 'DATASET_LOOKUP' ? body.results[0].data : body.result
}
