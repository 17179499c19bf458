/** What a forge has found out about a bundle, for people and for programs. */

import type { Fault } from '../../../core/base/errors.ts'
import type { EndpointPlan, EndpointReport, TensorSpec } from '../../../core/bundle/plan.ts'
import { bytesText, listText, tableText } from '../output.ts'
import { faultLines } from '../refusals.ts'
import type { Tried } from './forging.ts'

/** With `--json`. */
export function reportJson({ forged, unknown }: Tried): object {
  const { generationId, contentSha256, plan, report } = forged
  const types = plan.endpoints.map(({ id, type }) => ({ id, type }))
  const { method } = plan.authorization
  return { generationId, contentSha256, authorization: method, endpoints: types, report, unknown }
}

export function reportText({ forged, unknown }: Tried): string {
  const { report, plan } = forged
  const rows = plan.endpoints.flatMap((endpoint) => {
    const found = report.endpoints.find(({ endpointId }) => endpointId === endpoint.id)
    return found === undefined ? [] : [{ plan: endpoint, report: found }]
  })
  const parts = [
    listText([
      ['generation', forged.generationId],
      ['content', forged.contentSha256],
      ['files', `${report.files}, ${bytesText(report.unpackedBytes)}`],
      ['opens to', OPENS_TO[plan.authorization.method]],
      ['memory', `${bytesText(report.peakMemoryBytes)} in the process that tried it`],
      ['took', `${report.durationMs} ms`],
    ]),
  ]
  if (rows.length > 0) parts.push(endpointsText(rows), rows.map(moreText).join('\n\n'))
  const { tables = [] } = report
  if (tables.length > 0) {
    parts.push(
      tableText(tables, [
        { head: 'TABLE', cell: ({ name }) => name },
        { head: 'ROWS', cell: (table) => table.rows ?? table.connection, right: true },
        { head: 'COLUMNS', cell: ({ columns }) => columns, right: true },
      ]),
    )
  }
  if (unknown.length > 0) parts.push(unknownText(unknown))
  return parts.join('\n\n')
}

const OPENS_TO = {
  PUBLIC: 'everybody',
  API_KEYS: 'keys',
  OAUTH2: 'tokens of an issuer',
} as const

function unknownText(unknown: readonly Fault[]): string {
  return `Not tried here:\n${faultLines(unknown)
    .map((line) => `  ${line}`)
    .join('\n')}`
}

interface Row {
  readonly plan: EndpointPlan
  readonly report: EndpointReport
}

function endpointsText(rows: readonly Row[]): string {
  return tableText(rows, [
    { head: 'ENDPOINT', cell: ({ plan }) => plan.id },
    { head: 'TYPE', cell: ({ plan }) => plan.type },
    { head: 'PREDICTS', cell: kindOf },
    { head: 'LOAD', cell: ({ report }) => ms(report.loadMs), right: true },
    { head: 'FIRST RUN', cell: ({ report }) => ms(report.firstRunMs), right: true },
    { head: 'FULL BATCH', cell: batchText, right: true },
    { head: 'TEST QUERIES', cell: testsText, right: true },
  ])
}

function kindOf({ plan }: Row): string {
  const prediction = predictionOf(plan)
  return prediction === null ? '' : prediction.kind.toLowerCase().replaceAll('_', ' ')
}

function predictionOf(plan: EndpointPlan) {
  if (plan.type === 'STD_PREDICTION') return plan.prediction
  if (plan.type === 'CUSTOM_PREDICTION') return plan.python.prediction
  return plan.type === 'CUSTOM_R_PREDICTION' ? plan.r.prediction : null
}

function batchText({ report }: Row): string {
  const rows = report.maxRows === 1 ? '1 row' : `${report.maxRows} rows`
  return report.worstBatchMs > 0 ? `${rows} in ${ms(report.worstBatchMs)}` : ''
}

function testsText({ report }: Row): string {
  const passed = report.testQueries.filter((one) => one.passed).length
  return `${passed} of ${report.testQueries.length} passed`
}

/** What is too long for a table. */
function moreText({ plan, report }: Row): string {
  const prediction = predictionOf(plan)
  const features = prediction?.features ?? []
  const inputs =
    features.length > 0
      ? features.map(({ name, type }) => `${name} (${type})`)
      : report.inputs.map(tensorText)
  const depth = [
    ...(prediction?.percentiles === undefined
      ? []
      : [`${prediction.percentiles.length} percentiles`]),
    ...(report.backgroundRows === undefined
      ? []
      : [`explanations over ${report.backgroundRows} rows`]),
  ]
  return listText([
    [plan.id, report.program ?? (report.modelBytes > 0 ? bytesText(report.modelBytes) : 'ready')],
    ['  inputs', some(inputs)],
    ['  classes', some(prediction?.classes ?? [])],
    ['  rows together', prediction === null ? '' : together(report)],
    ['  with', depth.join(', ')],
  ])
}

function together({ batchable, batchReason }: EndpointReport): string {
  return batchable ? 'yes' : `no: ${batchReason}`
}

const SHOWN_MAX = 40

function some(names: readonly string[]): string {
  const rest = names.length - SHOWN_MAX
  const shown = names.slice(0, SHOWN_MAX).join(', ')
  return rest > 0 ? `${shown} and ${rest} more` : shown
}

function tensorText({ name, datatype, shape }: TensorSpec): string {
  return `${name} ${datatype}[${shape.map((size) => size ?? '?').join(', ')}]`
}

function ms(value: number): string {
  return `${Math.round(value * 100) / 100} ms`
}
