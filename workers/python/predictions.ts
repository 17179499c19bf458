/**
 * CUSTOM_PREDICTION in Python: rows to a predictor and back. What rows are, and what becomes of
 * their results, is the same for all languages and lies in workers/predictions.
 */

import { nowMs } from '../../core/base/clock.ts'
import { toAppError } from '../../core/base/errors.ts'
import { isObject } from '../../core/base/json.ts'
import type { CustomPredictionPlan } from '../../core/bundle/plan.ts'
import type { CallRows, CodeFailure, RowsAnswer } from '../predictions/custom.ts'
import type { CustomRow } from '../predictions/results.ts'
import type { RequestFacts } from '../protocol.ts'
import type { PythonReply } from './dialect.ts'
import type { RunCall } from './functions.ts'
import { groupRows, packRows, type RowGroup } from './rows.ts'

type RowAnswer = Extract<RowsAnswer, { kind: 'rows' }>['rows'][number]

export interface RowCaller {
  readonly plan: CustomPredictionPlan
  readonly run: RunCall
  /** Of the request whose rows these are, where the code wants to know. */
  readonly request: RequestFacts | null
}

export function rowCaller(caller: RowCaller): CallRows {
  return async (rows, endMs) => {
    const groups = groupRows(caller.plan, rows)
    const [only] = groups
    if (groups.length === 1 && only !== undefined) return callGroup(caller, only, endMs)
    const answers = new Array<RowAnswer>(rows.length)
    for (const group of groups) await fill(caller, group, endMs, answers)
    return { kind: 'rows', rows: answers }
  }
}

/** A group that fails as a whole is tried row by row, as rows of one table are. */
async function fill(
  caller: RowCaller,
  group: RowGroup,
  ...[endMs, answers]: [number, RowAnswer[]]
): Promise<void> {
  const answer = await callGroup(caller, group, endMs)
  for (const [at, index] of group.indexes.entries()) {
    if (answer.kind === 'rows') answers[index] = answer.rows[at] ?? invalid('a row has no result')
    else if (group.rows.length === 1 || answer.code === 'ERR_DEADLINE') answers[index] = answer
    else if (answer.code === 'ERR_CHILD_LOST') answers[index] = answer
    else {
      const alone = { columns: group.columns, rows: group.rows.slice(at, at + 1), indexes: [index] }
      await fill(caller, alone, endMs, answers)
    }
  }
}

async function callGroup(caller: RowCaller, group: RowGroup, endMs: number): Promise<RowsAnswer> {
  const packed = packRows(caller.plan, group)
  if (packed.kind === 'refused') {
    return { kind: 'failed', code: 'ERR_FEATURE_INVALID', detail: packed.detail }
  }
  const { call } = packed
  const { request } = caller
  const meta = request === null ? {} : { meta: { path: request.path, headers: request.headers } }
  try {
    const header = { ...call.header, ...meta }
    return rowsOf(await caller.run({ header, body: call.body }, endMs - nowMs()), group.rows.length)
  } catch (error) {
    const { code, detail } = toAppError(error)
    return { kind: 'failed', code, detail: detail ?? '' }
  }
}

function rowsOf(reply: PythonReply, rows: number): RowsAnswer {
  if (reply.kind === 'failed') {
    const { code, detail, status } = reply
    return { kind: 'failed', code, detail, ...(status === null ? {} : { status }) }
  }
  const answer = parsed(reply.body)
  if (answer === null) return invalid('it is not what the node expects')
  const probas = probabilities(answer['probas'])
  const fields = {
    predictions: listOf(answer['predictions'], rows),
    percentiles: listOf(answer['percentiles'], rows),
    keys: listOf(answer['keys'], rows),
  }
  const count = [fields.predictions, fields.percentiles, fields.keys].includes('wrong')
  if (count || (probas !== null && probas.rows.length !== rows)) {
    return invalid(`it does not have ${rows} rows`)
  }
  return {
    kind: 'rows',
    rows: Array.from({ length: rows }, (_, i) => ({ kind: 'row', row: rowOf(fields, probas, i) })),
  }
}

interface Fields {
  readonly predictions: List
  readonly percentiles: List
  readonly keys: List
}

function rowOf(fields: Fields, probas: Probabilities | null, index: number): CustomRow {
  const prediction = scalar(at(fields.predictions, index))
  const percentile = at(fields.percentiles, index)
  const keys = at(fields.keys, index)
  // The code has left the row out: its probabilities would else decide in its place.
  const isLeftOut = fields.predictions !== null && prediction === null
  const scores = probas?.rows[index]
  return {
    prediction,
    probas: isLeftOut || scores === undefined ? null : named(probas?.classes ?? [], scores),
    customKeys: typeof keys === 'string' ? keys : null,
    ...(typeof percentile === 'number' ? { probaPercentile: percentile } : {}),
  }
}

function named(classes: readonly string[], scores: readonly unknown[]): [string, number][] | null {
  if (scores.every((score) => score === null)) return null
  return classes.map((name, i) => {
    const score = scores[i]
    return [name, typeof score === 'number' ? score : Number.NaN]
  })
}

/** Null: the code gave none. */
type List = readonly unknown[] | 'wrong' | null

function listOf(value: unknown, rows: number): List {
  if (value === null || value === undefined) return null
  return Array.isArray(value) && value.length === rows ? value : 'wrong'
}

function at(list: List, index: number): unknown {
  return list === null || list === 'wrong' ? null : list[index]
}

function scalar(value: unknown): string | number | null {
  return typeof value === 'string' || typeof value === 'number' ? value : null
}

interface Probabilities {
  readonly classes: readonly string[]
  readonly rows: readonly (readonly unknown[])[]
}

function probabilities(value: unknown): Probabilities | null {
  if (!isObject(value)) return null
  const { classes, rows } = value
  if (!Array.isArray(classes) || !Array.isArray(rows)) return null
  return { classes: classes.map(String), rows: rows.map((row) => (Array.isArray(row) ? row : [])) }
}

function parsed(body: Buffer): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(body.toString('latin1'))
    return isObject(value) ? value : null
  } catch {
    return null
  }
}

function invalid(detail: string): CodeFailure {
  return { kind: 'failed', code: 'ERR_ANSWER_INVALID', detail }
}
