/** Tables of a bundle, and the endpoints that ask them: look-ups by key, and SQL. */

import { readFile } from 'node:fs/promises'
import { basename, extname, resolve } from 'node:path'
import { messageOf } from '../../../core/base/errors.ts'
import { nearest, shown } from '../../../core/bundle/sentences.ts'
import type { ColumnsDraft, DraftSample } from '../../../workers/protocol.ts'
import type { Call } from '../command.ts'
import { failed, wrongUsage } from '../failures.ts'
import { type Drafting, draftOf } from './drafting.ts'
import { endpointId, type Part, pathInBundle } from './part.ts'

interface Table {
  /** Absolute. */
  readonly file: string
  /** In the bundle. */
  readonly path: string
  readonly name: string
  readonly draft: ColumnsDraft
  /** As it is in the manifest. */
  readonly entry: Readonly<Record<string, unknown>>
}

export async function lookupPart(call: Call, drafting: Drafting, given: string): Promise<Part> {
  const key = call.flags.list('key')
  if (key.length === 0) {
    throw wrongUsage('--key names the columns by which rows of the table are looked up')
  }
  const table = await readTable(call, drafting, given, key)
  const { draft, name, file } = table
  const columns = draft.columns.map((one) => one.name)
  for (const column of key) if (!columns.includes(column)) throw noKey(given, column, columns)
  const known = key.map((column) => [column, draft.first[column] ?? null] as const)
  const isWhole = known.every(([, value]) => value !== null)
  const query = { name: 'the first row', q: { data: Object.fromEntries(known) } }
  const others = columns.filter((column) => !key.includes(column))
  return {
    endpoint: {
      id: endpointId(call.flags, given),
      type: 'DATASET_LOOKUP',
      lookups: [{ table: name }],
      ...(isWhole ? { testQueries: [query] } : {}),
    },
    tables: [table.entry],
    files: [{ source: file, path: table.path }],
    about: `${key.join(', ')} to ${others.length === 0 ? 'nothing' : others.join(', ')}`,
    notes: isWhole ? [] : ['the first row has no key, so there is no test query'],
  }
}

function noKey(given: string, column: string, columns: readonly string[]) {
  const near = nearest(column, columns)
  const hint = near === null ? `; it has ${columns.join(', ')}` : `; did you mean "${near}"?`
  return failed(`--key: ${basename(given)} has no column ${shown(column)}${hint}`)
}

async function readTable(
  call: Call,
  drafting: Drafting,
  given: string,
  key: readonly string[],
): Promise<Table> {
  const file = resolve(given)
  const isParquet = extname(file).toLowerCase() === '.parquet'
  if (!isParquet && !/\.(?:csv|tsv)$/i.test(file)) {
    throw wrongUsage(`--table ${given}: a table is a .csv, .tsv or .parquet file`)
  }
  const draft = await draftOf(drafting, { kind: 'columns', file }, { file })
  const name = tableName(file)
  // What is not named is a text; a Parquet file knows its types.
  const types = draft.columns.filter(({ type }) => type !== null && type !== 'string')
  const columns = Object.fromEntries(types.map((one) => [one.name, one.type]))
  const path = pathInBundle(call, file)
  const entry = {
    name,
    file: path,
    ...(key.length === 0 ? {} : { key }),
    ...(isParquet || types.length === 0 ? {} : { columns }),
  }
  return { file, path, name, draft, entry }
}

function tableName(file: string): string {
  const stem = basename(file, extname(file)).replace(/[^A-Za-z0-9_]+/g, '_')
  return (/^\d/.test(stem) ? `t${stem}` : stem).slice(0, 63) || 'rows'
}

interface QuerySource {
  readonly sample: DraftSample | null
}

export async function queryPart(
  call: Call,
  drafting: Drafting,
  { sample }: QuerySource,
): Promise<Part> {
  const { flags } = call
  const connection = flags.text('connection')
  const query = await queryText(call)
  const dialect = connection === null ? 'duckdb' : dialectOf(call)
  const draft = await draftOf(
    drafting,
    { kind: 'statement', query, dialect },
    { name: 'the statement' },
  )
  const tables: Table[] = []
  for (const one of flags.texts('table')) tables.push(await readTable(call, drafting, one, []))
  const first =
    sample === null
      ? (tables[0]?.draft ?? null)
      : await draftOf(drafting, { kind: 'columns', file: sample.file }, { file: sample.file })
  const parameters = parametersOf(call, draft.parameters, tables)
  const tested = testQuery(parameters, first)
  const file = flags.text('sqlFile')
  return {
    endpoint: {
      id: endpointId(flags, file ?? 'query'),
      type: 'SQL_QUERY',
      ...(connection === null ? {} : { connection }),
      query,
      ...(parameters.length === 0 ? {} : { parameters }),
      ...(tested === null ? {} : { testQueries: [tested] }),
    },
    ...(tables.length === 0 ? {} : { tables: tables.map(({ entry }) => entry) }),
    files: tables.map(({ file: source, path }) => ({ source, path })),
    about: parameters.length === 0 ? 'a query' : `a query by ${parameters.map(nameOf).join(', ')}`,
    notes: tested === null ? [`add a test query, with values for ${names(parameters)}`] : [],
  }
}

async function queryText({ flags }: Call): Promise<string> {
  const [text, file] = [flags.text('sql'), flags.text('sqlFile')]
  if (text !== null && file !== null) throw wrongUsage('give one of --sql and --sql-file')
  if (file === null) return text ?? ''
  const read = await readFile(file, 'utf8').catch((error: unknown) => {
    throw wrongUsage(`--sql-file ${file} cannot be read: ${messageOf(error)}`)
  })
  return read.trim()
}

/** Where strings and comments end, they differ; nothing but a config file says which it is. */
function dialectOf({ flags }: Call): 'postgresql' | 'mysql' {
  const given = flags.text('dialect') ?? 'postgresql'
  if (given === 'postgresql' || given === 'mysql') return given
  throw wrongUsage(`--dialect ${JSON.stringify(given)}: postgresql or mysql`)
}

interface Parameter {
  readonly name: string
  readonly type?: string
}

/** As given, else as the columns that they are compared with, which tell their types. */
function parametersOf(
  { flags }: Call,
  found: readonly (string | null)[],
  tables: readonly Table[],
): (string | Parameter)[] {
  const given = flags.list('parameters')
  if (given.length > 0 && given.length !== found.length) {
    const has = `the statement has ${found.length} ?`
    throw wrongUsage(`--parameters names ${given.length}, ${has}`)
  }
  const columns = tables.flatMap(({ draft }) => draft.columns)
  return found.map((column, i) => {
    const [name = '', type] = (given[i] ?? column ?? `p${i + 1}`).split(':')
    const known = columns.find((one) => one.name.toLowerCase() === (column ?? name).toLowerCase())
    const is = type ?? (/^(?:limit|offset)$/.test(name) ? 'integer' : known?.type)
    return is === undefined || is === null ? name : { name, type: is }
  })
}

function nameOf(parameter: string | Parameter): string {
  return typeof parameter === 'string' ? parameter : parameter.name
}

function names(parameters: readonly (string | Parameter)[]): string {
  return [...new Set(parameters.map(nameOf))].join(', ')
}

/** Of the first row; what counts rows is 1 at first. */
function testQuery(parameters: readonly (string | Parameter)[], first: ColumnsDraft | null) {
  const values = parameters.map((parameter) => {
    const name = nameOf(parameter)
    const found = Object.entries(first?.first ?? {}).find(
      ([column]) => column.toLowerCase() === name.toLowerCase(),
    )
    return [name, name === 'limit' || name === 'offset' ? 1 : (found?.[1] ?? null)] as const
  })
  if (values.some(([, value]) => value === null)) return null
  const name = parameters.length === 0 ? 'as it is' : 'the first row'
  return { name, q: Object.fromEntries(values) }
}
