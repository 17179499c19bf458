/** Tables as the forge makes them, and what a runtime needs to ask them. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { TablePlan } from '../../core/bundle/plan.ts'
import type { ManifestTable } from '../../core/bundle/table-schema.ts'
import { buildTable } from '../../workers/lookup/build-table.ts'
import type { RuntimeContext } from '../../workers/runtime.ts'
import { NO_RUNTIMES } from './runtimes.ts'

/** A folder like that of an unpacked bundle; goes with the test. */
export function bundleFolder(t: Pick<Test, 'teardown'>): string {
  const root = mkdtempSync(join(tmpdir(), 'switchyard-table-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  const directory = join(root, 'generation')
  mkdirSync(directory)
  return directory
}

/** Lock files of readers are beside the folder and never in it. */
export function tableContext(directory: string, tables: readonly TablePlan[] = []): RuntimeContext {
  return {
    serviceId: 'shop',
    generationId: 'v1',
    directory,
    tables,
    settings: { ...NO_RUNTIMES, runDirectory: join(directory, '../run') },
    children: null,
    spares: 0,
    report: () => {},
    log: () => {},
  }
}

/** Builds a table of this text; throws its faults. */
export async function tableOf(
  directory: string,
  text: string | Buffer,
  table: Partial<ManifestTable> & { readonly key: string[] },
): Promise<TablePlan> {
  const whole = { name: 'rows', file: `${table.name ?? 'rows'}.csv`, ...table }
  writeFileSync(join(directory, whole.file), text)
  const built = await buildTable(whole, { directory, wantsLmdb: true })
  if (built.kind === 'built') return built.plan
  throw new Error(built.faults.map(({ path, reason }) => `${path}: ${reason}`).join('\n'))
}

/** What is wrong with a table of this text. */
export async function reasonsOf(
  directory: string,
  text: string | Buffer,
  table: Partial<ManifestTable>,
): Promise<string[]> {
  const whole = { name: 'rows', file: 'rows.csv', key: ['id'], ...table }
  writeFileSync(join(directory, whole.file), text)
  const built = await buildTable(whole, { directory, wantsLmdb: true, path: 'tables[0].file' })
  return built.kind === 'built' ? [] : built.faults.map(({ reason }) => reason)
}
