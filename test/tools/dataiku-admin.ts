/**
 * A node as programs for Dataiku's API node meet it: their admin client, their clients of services,
 * and folders that archives may be imported from or not.
 */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { bundleOf } from './client.ts'
import { type Calls, dataiku, type Said } from './dataiku.ts'
import { startNode, type TestNode } from './node.ts'
import { regressor } from './onnx-models.ts'

export interface Setup {
  readonly node: TestNode
  /** Of the node's first admin key. */
  readonly admin: Calls
  /** Of a key that opens the admin API. */
  readonly adminWith: (key: string) => Promise<Calls>
  /** A service's queries. */
  readonly queries: (serviceId: string) => Promise<Calls>
  /** The folder that may be imported from, and one beside it. */
  readonly folder: string
  readonly outside: string
}

/** Of methods that return nothing. */
export const NOTHING: Said = { returned: null, printed: '' }

export async function adminSetup(t: Test): Promise<Setup> {
  const root = mkdtempSync(join(tmpdir(), 'switchyard-imports-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  const folder = join(root, 'imports')
  const outside = join(root, 'outside')
  for (const path of [folder, outside]) mkdirSync(path)
  const node = await startNode(t, { args: ['--import-folders', folder, '--log-level', 'debug'] })
  const python = dataiku(t)
  // As its documentation writes the address: with a slash at the end.
  const adminWith = (key: string) => python.client('APINodeAdminClient', [`${node.adminUrl}/`, key])
  const queries = (serviceId: string) => python.client('APINodeClient', [`${node.url}/`, serviceId])
  const admin = await adminWith(node.adminKey)
  return { node, admin, adminWith, queries, folder, outside }
}

/** That it was refused, and how its user was told. */
export function refused(t: Test, said: Said, text: RegExp): void {
  t.match(said, { raised: 'DataikuException', text })
}

/** Which generation answers, by its number; or what was raised. */
export async function answered(queries: Calls, dispatch: object = {}): Promise<number | string> {
  const said = await queries(['predict_record', ['p', { f0: 1 }], dispatch])
  return said.returned?.result.prediction ?? said.text ?? ''
}

export function archive(folder: string, name: string, factor: number): string {
  const path = join(folder, `${name}.zip`)
  writeFileSync(path, bundleOf(regressor(1, factor)))
  return path
}

/** A service with generations that multiply by 1, 2 and so on; none of them answers yet. */
export async function imported(
  setup: Setup,
  serviceId: string,
  names: readonly string[],
): Promise<Calls> {
  const { admin, folder } = setup
  await admin(['create_service', [serviceId]])
  for (const [index, name] of names.entries()) {
    const path = archive(folder, name, index + 1)
    const said = await admin(['service', [serviceId]], ['import_generation_from_archive', [path]])
    if (said.raised !== undefined) throw new Error(said.text)
  }
  return (...path) => admin(['service', [serviceId]], ...path)
}
