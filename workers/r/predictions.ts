/**
 * CUSTOM_R_PREDICTION: features are the named arguments of a function, which is run row by row and
 * returns the prediction, or a list of `prediction`, `probas` and `customKeys`.
 */

import type { CallRows, CodeFailure, RowsAnswer } from '../predictions/custom.ts'
import type { CustomRow } from '../predictions/results.ts'
import type { FeatureMap } from '../predictions/values.ts'
import { named } from './arguments.ts'
import type { RRow } from './dialect.ts'
import { AnswerRefused, fromR } from './from-r.ts'
import { type CallR, failureOf } from './functions.ts'
import { isOfClass, NA_INTEGER, namesOf, type RValue } from './xdr.ts'

type Row = { readonly kind: 'row'; readonly row: CustomRow } | CodeFailure

export function rowCaller(call: CallR): CallRows {
  return async (features, endMs): Promise<RowsAnswer> => {
    const given = features.map((row: FeatureMap) => named(row, true))
    const runnable = given.flatMap((row) => (row.kind === 'arguments' ? [row.values] : []))
    try {
      const reply = runnable.length === 0 ? [] : await call(runnable, endMs)
      const answers = reply.values()
      const rows = given.map((row): Row => {
        if (row.kind === 'refused') return featureFailure(row.reason)
        const answer = answers.next()
        return answer.done === true ? { kind: 'row', row: NOTHING } : rowOf(answer.value)
      })
      return { kind: 'rows', rows }
    } catch (error) {
      return failureOf(error)
    }
  }
}

function featureFailure(detail: string): CodeFailure {
  return { kind: 'failed', code: 'ERR_FEATURE_INVALID', detail }
}

const NOTHING: CustomRow = { prediction: null, probas: null, customKeys: null }

function rowOf(row: RRow): Row {
  if (row.kind === 'failed') {
    return row.code === 'ERR_ARGUMENT_INVALID' ? featureFailure(`features ${row.detail}`) : row
  }
  try {
    return { kind: 'row', row: customRow(row.value) }
  } catch (error) {
    return failureOf(error)
  }
}

function customRow(value: RValue): CustomRow {
  if (value.kind !== 'list' || isOfClass(value, 'data.frame')) {
    return { ...NOTHING, prediction: scalar(value, 'the answer') }
  }
  if (value.values.length === 0) return NOTHING
  const parts = new Map(value.values.map((part, i) => [namesOf(value)?.[i] ?? '', part]))
  const prediction = parts.get('prediction')
  const probas = parts.get('probas')
  if (prediction === undefined && probas === undefined) {
    throw new AnswerRefused('the list that the function returned has no "prediction"')
  }
  return {
    prediction: prediction === undefined ? null : scalar(prediction, 'the answer$prediction'),
    probas: probas === undefined ? null : probabilities(probas),
    customKeys: customKeys(parts),
  }
}

/** A list `customKeys`, and whatever else the function has added to its list. */
function customKeys(parts: ReadonlyMap<string, RValue>): string | null {
  const others = [...parts].filter(
    ([name]) => !['prediction', 'probas', 'customKeys'].includes(name),
  )
  const texts = others.map(([name, part]) => member(name, fromR(part, `the answer$${name}`)))
  const keys = parts.get('customKeys')
  if (keys !== undefined && keys.kind !== 'null') {
    const text = fromR(keys, 'the answer$customKeys')
    if (!text.startsWith('{')) throw new AnswerRefused('the answer$customKeys is no named list')
    if (text !== '{}') texts.push(text.slice(1, -1))
  }
  return texts.length === 0 ? null : `{${texts.join(',')}}`
}

function member(name: string, text: string): string {
  return `${JSON.stringify(name)}:${text}`
}

/** One value, with a name or without: `predict()` names its rows. NA and NULL are null. */
function scalar(value: RValue, where: string): CustomRow['prediction'] {
  if (value.kind === 'null') return null
  if (value.kind === 'opaque') throw new AnswerRefused(`${where} is ${value.what}`)
  if (value.values.length === 0) return null
  if (value.values.length > 1) {
    throw new AnswerRefused(`${where} has ${value.values.length} values: one is expected`)
  }
  const attributes = new Map(value.attributes)
  for (const name of ['names', 'dim', 'dimnames']) attributes.delete(name)
  if (isOfClass(value, 'AsIs')) attributes.delete('class')
  const bare = { ...value, attributes }
  const [only] = bare.kind === 'list' ? bare.values : []
  if (only !== undefined) return scalar(only, `${where}[[1]]`)
  const parsed: unknown = JSON.parse(fromR(bare, where))
  if (typeof parsed === 'string' || typeof parsed === 'number') return parsed
  return typeof parsed === 'boolean' ? parsed : null
}

/** A list or vector with the classes as names, or, without names, in the order of the classes. */
function probabilities(value: RValue): CustomRow['probas'] {
  if (value.kind === 'null') return null
  if (value.kind === 'opaque') throw new AnswerRefused(`the answer$probas is ${value.what}`)
  const names = namesOf(value) ?? columnNames(value.attributes.get('dimnames'))
  const values = Array.from(value.values.keys(), (i) => probability(value, i))
  return names === null ? values : values.map((score, i) => [names[i] ?? '', score] as const)
}

function probability(value: Extract<RValue, { attributes: unknown }>, index: number): number {
  const entry = value.values[index]
  const where = `the answer$probas[[${index + 1}]]`
  const given = typeof entry === 'object' && entry !== null ? scalar(entry, where) : entry
  if (given === null || isNaInteger(value, given)) return Number.NaN
  if (typeof given !== 'number' || value.kind === 'logical' || value.kind === 'raw') {
    throw new AnswerRefused(`${where} is no number`)
  }
  return given
}

/** NA of integers is a number of its own, and so is the NA of `c(yes = NA)`, which is logical. */
function isNaInteger({ kind }: RValue, given: unknown): boolean {
  return (kind === 'integer' || kind === 'logical') && given === NA_INTEGER
}

/** Models often answer a matrix with one row and a column per class. */
function columnNames(dimnames: RValue | undefined): readonly (string | null)[] | null {
  const names = dimnames?.kind === 'list' ? dimnames.values.at(-1) : undefined
  return names?.kind === 'string' ? names.values : null
}
