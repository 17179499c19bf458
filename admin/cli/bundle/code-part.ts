/**
 * An endpoint of Python or R code: a function, or a predictor whose features and classes nobody but
 * a sample can tell. The file is parsed and not run.
 */

import { basename, resolve } from 'node:path'
import { nearest, shown } from '../../../core/bundle/sentences.ts'
import type { RuntimeSettings } from '../../../core/config/runtimes.ts'
import type {
  CodeDraft,
  ColumnDraft,
  ColumnsDraft,
  DraftSample,
  FunctionDraft,
} from '../../../workers/protocol.ts'
import type { Call } from '../command.ts'
import { failed, wrongUsage } from '../failures.ts'
import { type Drafting, draftOf } from './drafting.ts'
import {
  endpointId,
  firstRow,
  type Part,
  pathInBundle,
  predictionGiven,
  type RowKind,
  sampleFeatures,
} from './part.ts'

export interface CodeSource {
  readonly language: 'python' | 'r'
  readonly file: string
  readonly sample: DraftSample | null
  readonly settings: RuntimeSettings
}

interface Context extends CodeSource {
  readonly call: Call
  readonly draft: CodeDraft
  /** Of the sample; null: there is none. */
  readonly columns: ColumnsDraft | null
}

export async function codePart(call: Call, drafting: Drafting, source: CodeSource): Promise<Part> {
  const { language, settings, sample } = source
  const file = resolve(source.file)
  const draft = await draftOf(drafting, { kind: 'code', language, file, settings }, { file })
  const columns =
    sample === null
      ? null
      : await draftOf(drafting, { kind: 'columns', file: sample.file }, { file: sample.file })
  const context: Context = { ...source, file, call, draft, columns }
  return isPredictor(context) ? predictorPart(context) : functionPart(context)
}

/** A file of both is a predictor with helpers, unless a function is named. */
function isPredictor({ language, call: { flags }, draft }: Context): boolean {
  if (language === 'r') return flags.text('prediction') !== null
  const named = flags.text('function')
  if (named !== null && flags.text('class') !== null) {
    throw wrongUsage('give one of --function and --class')
  }
  return named === null && (flags.text('class') !== null || draft.classes.length > 0)
}

const COPIED = 'files that the code reads or imports belong into the folder too'

function functionPart(context: Context): Part {
  const { language, file, call, columns } = context
  const found = functionOf(context)
  const id = endpointId(call.flags, found.name)
  const query = functionQuery(found, columns)
  const required = found.arguments.filter(({ optional }) => !optional).map(({ name }) => name)
  const values = required.join(', ')
  const hint = `add a test query, with values for ${values}: it is run before it serves`
  return {
    endpoint: {
      id,
      type: language === 'python' ? 'PYTHON_FUNCTION' : 'R_FUNCTION',
      file: pathInBundle(call, file),
      function: found.name,
      ...(query === null ? {} : { testQueries: [query] }),
    },
    files: [{ source: file, path: pathInBundle(call, file) }],
    about: `${found.name}(${found.arguments.map(({ name }) => name).join(', ')})`,
    notes: [...(query === null ? [hint] : []), COPIED],
  }
}

/** The function that is named, or the only one that is not private. */
function functionOf({ call: { flags }, draft, file, language }: Context): FunctionDraft {
  const { functions } = draft
  const names = functions.map(({ name }) => name)
  const wanted = flags.text('function')
  const where = basename(file)
  if (wanted !== null) {
    const found = functions.find(({ name }) => name === wanted)
    if (found !== undefined) return found
    const near = nearest(wanted, names)
    const hint = near === null ? '' : `; did you mean "${near}"?`
    throw failed(`${where} has no function ${shown(wanted)} at its top level${hint}`)
  }
  const open = functions.filter(({ name }) => !/^[_.]/.test(name))
  const [only] = open
  if (only !== undefined && open.length === 1) return only
  if (only === undefined) {
    const also = language === 'python' ? ' and no class with predict()' : ''
    throw failed(`${where} has no function at its top level${also}`)
  }
  const list = open.map(({ name }) => name).join(', ')
  throw wrongUsage(`${where} has the functions ${list}: name one with --function`)
}

/** Of the sample's first row where it has all that is needed, else of the defaults. */
function functionQuery({ arguments: given }: FunctionDraft, columns: ColumnsDraft | null) {
  const row = columns?.first ?? {}
  const values = given.map((one): [string, unknown] | null => {
    const cell = row[one.name] ?? null
    if (cell !== null) return [one.name, cell]
    return Object.hasOwn(one, 'value') ? [one.name, one.value] : null
  })
  const isWhole = given.every(({ optional }, i) => optional || values[i] !== null)
  if (!isWhole) return null
  const known = values.filter((one) => one !== null)
  return { name: columns === null ? 'defaults' : 'the first row', q: Object.fromEntries(known) }
}

function predictorPart(context: Context): Part {
  const { language, file, call, columns, sample } = context
  const notes: string[] = []
  const named = predictorName(context)
  const target = columns?.columns.find(({ name }) => name === sample?.target) ?? null
  if (sample !== null && sample.target !== null && target === null) {
    const names = (columns?.columns ?? []).map(({ name }) => name).join(', ')
    throw failed(`--target ${shown(sample.target)}: the sample has the columns ${names}`)
  }
  const kind = kindOf(context, target, notes)
  const taken = (columns?.columns ?? []).filter(({ name }) => name !== sample?.target)
  const features = sampleFeatures(taken)
  const row = columns === null ? null : firstRow(columns, features)
  const classes = kind === 'REGRESSION' || target === null ? null : classesOf(target)
  if (classes !== null) notes.push(`classes are in the order ${classes.join(', ')}: check it`)
  else if (kind !== 'REGRESSION') notes.push('"classes" names the classes, in the order of probas')
  if (columns === null) notes.push('--sample would tell the features and their types')
  const query = row === null ? null : { name: 'the first row', q: { features: row } }
  return {
    endpoint: {
      id: endpointId(call.flags, file),
      type: language === 'python' ? 'CUSTOM_PREDICTION' : 'CUSTOM_R_PREDICTION',
      file: pathInBundle(call, file),
      ...named,
      prediction: kind,
      ...(classes === null ? {} : { classes }),
      ...(features.length === 0 ? {} : { features }),
      ...(query === null ? {} : { testQueries: [query] }),
    },
    files: [{ source: file, path: pathInBundle(call, file) }],
    about: `${kind.toLowerCase().replaceAll('_', ' ')} by ${Object.values(named)[0]}`,
    notes: [...notes, COPIED],
  }
}

function predictorName(context: Context): { class: string } | { function: string } {
  const { language, call, draft, file } = context
  if (language === 'r') return { function: functionOf(context).name }
  const names = draft.classes.map(({ name }) => name)
  const wanted = call.flags.text('class')
  if (wanted !== null) {
    if (names.includes(wanted)) return { class: wanted }
    const there = names.length === 0 ? 'none' : names.join(', ')
    throw failed(`${basename(file)} has no class ${shown(wanted)} with predict(); it has ${there}`)
  }
  const [only = '', second] = names
  if (second === undefined) return { class: only }
  throw wrongUsage(`${basename(file)} has the classes ${names.join(', ')}: name one with --class`)
}

function kindOf({ call, draft }: Context, target: ColumnDraft | null, notes: string[]): RowKind {
  const given = predictionGiven(call.flags)
  if (given === 'RAW') throw wrongUsage('--prediction RAW is for ONNX models')
  if (given !== null) return given
  const bases = draft.classes.flatMap((one) => one.bases)
  if (bases.includes('RegressionPredictor')) return 'REGRESSION'
  if (target === null) {
    const cure = '--prediction says it, or --sample and --target show it'
    throw wrongUsage(`what the code predicts cannot be read from it: ${cure}`)
  }
  const kind = kindOfTarget(target)
  notes.push(`the column ${shown(target.name)} looks like ${kind}; --prediction says otherwise`)
  return kind
}

/** More distinct whole numbers are most likely amounts. */
const CLASSES_MAX = 20

function kindOfTarget({ type, values }: ColumnDraft): RowKind {
  const count = values?.length ?? Number.POSITIVE_INFINITY
  if (type === 'number' || (type === 'integer' && count > CLASSES_MAX)) return 'REGRESSION'
  return count === 2 ? 'BINARY_CLASSIFICATION' : 'MULTICLASS'
}

function classesOf({ type, values }: ColumnDraft): readonly string[] | null {
  if (values === null || values.length < 2) return null
  const isNumber = type === 'integer' || type === 'number'
  return values.toSorted((a, b) => (isNumber ? Number(a) - Number(b) : a < b ? -1 : 1))
}
