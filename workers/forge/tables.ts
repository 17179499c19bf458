/**
 * Tables of a bundle, made ready for whoever asks them: an LMDB environment where rows are looked
 * up, a DuckDB file where the embedded SQL reads them.
 */

import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { Fault } from '../../core/base/errors.ts'
import type { TablePlan } from '../../core/bundle/plan.ts'
import type { ManifestTable } from '../../core/bundle/table-schema.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { lookupsOf, type PrepareOptions } from './needs.ts'
import { noSpace } from './no-space.ts'
import { everyNow } from './progress.ts'
import { shortReason } from './reasons.ts'
import { remoteTable } from './remote-table.ts'
import { type EndpointRefused, refusal } from './task.ts'

export interface MadeTables {
  readonly tables: readonly TablePlan[]
  /** Database file of the embedded SQL, relative; null: nobody asks it, or there are no tables. */
  readonly duckdb: string | null
  /** Files that were made, relative. */
  readonly made: readonly string[]
  /** Tables that could not be made: who asks them is not tried. */
  readonly missing: ReadonlySet<string>
  readonly refusals: readonly EndpointRefused[]
}

/** What a table takes on the disk beside its file, runs of sorted rows included. */
const DISK_FACTOR = { csv: 3, parquet: 6 } as const
/** Maps of files count as address space; a table may have several of its size. */
const MEMORY_FACTOR = 6

const MIB = 1024 * 1024

export async function makeTables(options: PrepareOptions): Promise<MadeTables> {
  const { manifest } = options
  const all = manifest.tables ?? []
  const looked = new Set(manifest.endpoints.flatMap(lookupsOf).map(({ table }) => table))
  const asked = manifest.endpoints.some(
    (one) => one.type === 'SQL_QUERY' && one.connection === undefined,
  )
  const isUsed = ({ name, file }: ManifestTable): boolean =>
    looked.has(name) || (asked && file !== undefined)
  const made = new Made(options, looked)
  for (const [i, table] of all.entries()) {
    if (isUsed(table)) await made.add(table, `tables[${i}]`)
  }
  if (asked) await made.addDuckdb()
  return made
}

interface FileFacts {
  readonly bytes: number
  readonly wantsLmdb: boolean
}

class Made implements MadeTables {
  readonly tables: TablePlan[] = []
  readonly made: string[] = []
  readonly missing = new Set<string>()
  readonly refusals: EndpointRefused[] = []
  duckdb: string | null = null
  readonly #options: PrepareOptions
  readonly #looked: ReadonlySet<string>
  #hasFiles = false
  #diskBytes: number

  constructor(options: PrepareOptions, looked: ReadonlySet<string>) {
    this.#options = options
    this.#looked = looked
    this.#diskBytes = options.diskBytesMax
  }

  async add(table: ManifestTable, path: string): Promise<void> {
    const { name, file } = table
    if (file === undefined) {
      await this.#addRemote(table, path)
      return
    }
    const bytes = this.#options.files.get(file) ?? 0
    const wantsLmdb = this.#looked.has(name)
    const short = wantsLmdb ? this.#diskFault(table, bytes) : null
    if (short !== null) {
      this.#refuse(name, 'ERR_DISK_FULL', [{ path: `${path}.file`, reason: short }])
      return
    }
    await this.#makeRoom(bytes)
    try {
      await this.#build(table, path, { bytes, wantsLmdb })
    } catch (error) {
      if (!noSpace(error)) throw error
      const reason = `${file} does not fit as a table: ${shortReason(error)}`
      this.#refuse(name, 'ERR_DISK_FULL', [{ path: `${path}.file`, reason }])
    }
  }

  async #build(table: ManifestTable, path: string, { bytes, wantsLmdb }: FileFacts): Promise<void> {
    const { tell, directory } = this.#options
    const detail = `table ${table.name}`
    tell('tables', detail, { doneBytes: 0, totalBytes: bytes })
    const { buildTable } = await import('../lookup/build-table.ts')
    const built = await buildTable(table, {
      directory,
      wantsLmdb,
      path: `${path}.file`,
      onProgress: everyNow(({ rows, doneBytes, totalBytes }) => {
        tell('tables', `${detail}: ${rows} rows`, { doneBytes, totalBytes })
      }),
    })
    if (built.kind === 'faults') {
      this.#refuse(table.name, 'ERR_BUNDLE_INVALID', built.faults)
      return
    }
    this.#hasFiles = true
    this.tables.push(built.plan)
    this.made.push(...built.made)
  }

  async #addRemote(table: ManifestTable, path: string): Promise<void> {
    const { name, connection = '' } = table
    this.#options.tell('tables', `table ${name} of connection ${connection}`)
    const found = await remoteTable(table, path, this.#options).catch((error) =>
      refusal(error, `${path}.connection`),
    )
    if (found.kind === 'plan') this.tables.push(found.plan)
    else this.#refuse(name, found.code, found.faults)
  }

  async addDuckdb(): Promise<void> {
    if (!this.#hasFiles || this.refusals.length > 0) return
    const { tell, directory, manifest } = this.#options
    tell('tables', 'the database of SQL endpoints')
    const { buildDuckdb } = await import('../sql/build-duckdb.ts')
    try {
      this.duckdb = await buildDuckdb(manifest.tables ?? [], directory)
      this.made.push(this.duckdb)
    } catch (error) {
      const { code, faults } = noSpace(error) ? fullDisk(error) : refusal(error, 'tables')
      this.#refuse('', code, faults)
    }
  }

  #refuse(name: string, code: EndpointRefused['code'], faults: readonly Fault[]): void {
    this.missing.add(name)
    this.refusals.push({ kind: 'refused', code, faults })
  }

  /** Better a sentence now than half a table later. */
  #diskFault({ file = '' }: ManifestTable, bytes: number): string | null {
    const factor = file.toLowerCase().endsWith('.parquet') ? DISK_FACTOR.parquet : DISK_FACTOR.csv
    const wanted = factor * bytes
    if (wanted > this.#diskBytes) {
      const free = Math.floor(this.#diskBytes / MIB)
      return `${file} needs about ${Math.ceil(wanted / MIB)} MiB as a table, ${free} MiB are free`
    }
    this.#diskBytes -= wanted
    return null
  }

  /** The limit of this process was set by the size of the archive, which says little of a table. */
  async #makeRoom(bytes: number): Promise<void> {
    const { prlimit } = this.#options.settings
    const wanted = LIMITS.forgeMemoryBytesMin + MEMORY_FACTOR * bytes
    if (prlimit === null || wanted <= (await softLimit())) return
    const args = [`--pid=${process.pid}`, `--as=${wanted}:`]
    // Where that is not allowed the table may fit all the same.
    await promisify(execFile)(prlimit, args).catch(() => {})
  }
}

function fullDisk(error: unknown): Pick<EndpointRefused, 'code' | 'faults'> {
  const reason = `they do not fit as a database: ${shortReason(error)}`
  return { code: 'ERR_DISK_FULL', faults: [{ path: 'tables', reason }] }
}

/** Of the address space; without a limit, or where none is told, there is always room. */
async function softLimit(): Promise<number> {
  const text = await readFile('/proc/self/limits', 'utf8').catch(() => '')
  const found = /^Max address space +(\d+)/m.exec(text)
  return found === null ? Number.POSITIVE_INFINITY : Number(found[1])
}
