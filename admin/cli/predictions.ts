/** Answers of the query API for people: a prediction, what a function said, a table of rows. */

import { isRecord, listOf, numberOf, recordOf, textOf } from './fields.ts'
import { type Column, listText, shown, tableText } from './output.ts'

type Row = Readonly<Record<string, unknown>>

export function answerText(answer: unknown): string {
  const fields = recordOf(answer)
  const body = bodyText(fields)
  const foot = footText(fields)
  return [body, foot].filter((part) => part !== '').join('\n\n')
}

function bodyText(fields: Row): string {
  if (isRecord(fields['result'])) return listText(pairsOf(fields['result']))
  const results = listOf(fields['results']).map(recordOf)
  if (results.length > 0) return resultsText(results)
  if ('response' in fields) {
    const { response } = fields
    return typeof response === 'string' ? response : JSON.stringify(response, null, 2)
  }
  if (Array.isArray(fields['columns'])) return rowsText(fields)
  if ('updatedRows' in fields) return listText([['updated rows', fields['updatedRows']]])
  return JSON.stringify(fields, null, 2)
}

/** One look-up is a list; more rows are a table. */
function resultsText(results: readonly Row[]): string {
  const rows = results.map(flat)
  const [row] = rows
  if (row !== undefined && rows.length === 1) return listText(Object.entries(row))
  const names = [...new Set(rows.flatMap((one) => Object.keys(one)))]
  const columns = names.map((name): Column<Row> => {
    return { head: name.toUpperCase(), cell: (one) => cellText(one[name]) }
  })
  return tableText(rows, columns)
}

/** Fields of a look-up beside those of the answer; what says nothing is left out. */
function flat(result: Row): Row {
  const { data, ...others } = result
  const rest = Object.fromEntries(pairsOf(others))
  return isRecord(data) ? { ...data, ...rest } : rest
}

function pairsOf(result: Row): [string, unknown][] {
  return Object.entries(result).flatMap(([name, value]): [string, unknown][] => {
    if (name === 'ignored' && value === false) return []
    if (!isRecord(value)) return [[name, value]]
    return [[name, mapText(value)]]
  })
}

/** `benign 0.9, malignant 0.1` */
function mapText(value: Row): string {
  const parts = Object.entries(value).map(([name, one]) => `${name} ${cellText(one)}`)
  return parts.join(', ')
}

function rowsText(fields: Row): string {
  const columns = listOf(fields['columns']).map((one, i): Column<readonly unknown[]> => {
    const name = textOf(recordOf(one)['name']) ?? String(one)
    return { head: name, cell: (row) => cellText(row[i]) }
  })
  const rows = listOf(fields['rows']).map(listOf)
  return tableText(rows, columns)
}

function cellText(value: unknown): string {
  if (value === null || value === undefined) return ''
  const number = numberOf(value)
  if (number !== null) return String(Number(number.toPrecision(6)))
  return shown(value)
}

function footText(fields: Row): string {
  const generation = textOf(recordOf(fields['apiContext'])['serviceGeneration'])
  const timing = recordOf(fields['timing'])
  const ms = ['wait', 'preparation', 'prediction', 'execution']
    .map((name) => numberOf(timing[name]) ?? 0)
    .reduce((sum, one) => sum + one, 0)
  if (generation === null) return ''
  return `generation ${generation}, ${Math.round(ms * 100) / 100} ms`
}
