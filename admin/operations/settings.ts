/**
 * What an operator sets for a service whatever generation answers: which queries are logged, and
 * which web pages may read its answers. It survives switches, and restarts.
 */

import { AppError } from '../../core/base/errors.ts'
import type { CorsPolicy, QueryLogPolicy } from '../../core/channel/messages.ts'
import type { ServiceRecord } from '../store/records.ts'
import type { Context } from './context.ts'

const QUERY_LOG_RULE =
  'allowed is "off", "failures", "all", or a share of all such as "sample:0.01"'
const ORIGIN_RULE = 'an origin is scheme://host or scheme://host:port, without a path'

export interface ServiceSettingsView {
  readonly queryLog: string
  /** Null: no page of another origin. */
  readonly cors: CorsPolicy | null
}

/** What is absent stays as it is. */
export interface SettingsChange {
  readonly serviceId: string
  readonly queryLog?: string
  readonly cors?: CorsPolicy | null
  readonly actor: string
}

export function settingsView({ queryLog, cors }: ServiceRecord): ServiceSettingsView {
  return { queryLog: queryLog === undefined ? 'off' : policyText(queryLog), cors: cors ?? null }
}

export async function changeSettings(context: Context, change: SettingsChange): Promise<void> {
  const { serviceId, queryLog, cors, actor } = change
  const wanted = {
    ...(queryLog === undefined ? {} : { queryLog: readPolicy(queryLog) }),
    ...(cors === undefined ? {} : { cors: cors === null ? null : readCors(cors) }),
  }
  await context.perService.run(serviceId, async () => {
    const before = context.catalog.service(serviceId)
    const record = withSettings(before, wanted)
    await context.catalog.commit({
      actor,
      action: 'changeSettings',
      before: { serviceId, ...settingsView(before) },
      after: { serviceId, ...settingsView(record) },
      puts: [{ kind: 'service', record }],
      removes: [],
    })
    await context.publisher.apply()
  })
}

interface Wanted {
  readonly queryLog?: QueryLogPolicy
  readonly cors?: CorsPolicy | null
}

/** What equals the default is not kept. */
function withSettings(record: ServiceRecord, wanted: Wanted): ServiceRecord {
  const { queryLog: loggedBefore, cors: corsBefore, ...rest } = record
  const { queryLog = loggedBefore, cors = corsBefore ?? null } = wanted
  return {
    ...rest,
    ...(queryLog === undefined || queryLog.mode === 'off' ? {} : { queryLog }),
    ...(cors === null ? {} : { cors }),
  }
}

function policyText({ mode, share }: QueryLogPolicy): string {
  return mode === 'sample' ? `sample:${share}` : mode
}

function readPolicy(text: string): QueryLogPolicy {
  switch (text) {
    case 'off':
    case 'failures':
      return { mode: text, share: 0 }
    case 'all':
      return { mode: text, share: 1 }
  }
  const [, digits] = /^sample:(\d{1,9}(?:\.\d{1,9})?)$/.exec(text) ?? []
  const share = Number(digits)
  if (share > 0 && share <= 1) return { mode: 'sample', share }
  const detail = `queryLog: ${QUERY_LOG_RULE}; a share is over 0 and at most 1`
  throw new AppError('ERR_PARAMETER_INVALID', detail)
}

function readCors({ origins }: CorsPolicy): CorsPolicy | null {
  if (origins.length === 0) return null
  if (origins.includes('*') && origins.length > 1) {
    throw new AppError('ERR_PARAMETER_INVALID', 'cors.origins: "*" stands alone')
  }
  return { origins: [...new Set(origins.map(readOrigin))] }
}

/** As browsers send it: scheme and host in lower case, a port only where it is not the usual. */
function readOrigin(text: string, index: number): string {
  if (text === '*') return text
  const written = text.toLowerCase()
  const url = URL.canParse(written) ? new URL(written) : null
  const isHttp = url?.protocol === 'http:' || url?.protocol === 'https:'
  const isBare = url !== null && /^https?:\/\/[^/?#@\\\s]+$/.test(written)
  if (url !== null && isHttp && isBare) return url.origin
  const shown = JSON.stringify(text.slice(0, 128))
  throw new AppError('ERR_PARAMETER_INVALID', `cors.origins[${index}]: ${shown}; ${ORIGIN_RULE}`)
}
