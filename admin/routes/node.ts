/** Routes about the node itself: health, metrics, the document of this API. */

import { AppError } from '../../core/base/errors.ts'
import { PROMETHEUS_CONTENT_TYPE } from '../../core/metrics/prometheus.ts'
import { exists } from '../store/files.ts'
import { done, json } from './answers.ts'
import type { CallHandler } from './call.ts'
import { openApiDocument } from './openapi.ts'

export const getHealth: CallHandler = ({ api }) => json(api.operations.health())

/** Counts are exact right after the last answer, because serve is asked first. */
export const getMetrics: CallHandler = async ({ api }) => {
  await api.serving.collect()
  return json(api.metrics.json())
}

export const getPrometheus: CallHandler = async ({ api }) => {
  await api.serving.collect()
  return {
    status: 200,
    body: api.metrics.prometheus(api.nodeInfo()),
    contentType: PROMETHEUS_CONTENT_TYPE,
  }
}

export const getOpenApi: CallHandler = ({ api }) => json(openApiDocument(api.version))

/** Answered when all new processes listen; the old ones answer who is connected, and end. */
export const replaceServing: CallHandler = async ({ api, actor }) => {
  api.logger.info({ actor }, 'an operator replaces the serving processes')
  const outcome = await api.serving.replace('asked')
  if (outcome.kind === 'failed') throw new AppError('ERR_REPLACE_FAILED', outcome.reason)
  return done({ replaced: outcome.processes, ms: Math.round(outcome.ms) })
}

/** Now, instead of at the next look at the files; answered when queries have them too. */
export const reloadCertificates: CallHandler = async ({ api }) => {
  const { certificates } = api
  if (certificates === undefined) throw new AppError('ERR_TLS_OFF')
  return json({ ok: true, listeners: await certificates.reload() })
}

/** Alive means that queries are served; the file is how an operator takes the node out. */
export const isAlive: CallHandler = async ({ api }) => {
  if (await exists(api.notAliveFile)) {
    throw new AppError('ERR_STOPPING', 'an operator has taken the node out of service')
  }
  if (!api.serving.status().listening) throw new AppError('ERR_STARTING')
  return json({ alive: true })
}
