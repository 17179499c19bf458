/** Routes of generations: import by upload, look, preload, switch, delete. */

import { AppError } from '../../core/base/errors.ts'
import type { GenerationRef } from '../../core/base/ids.ts'
import { done, json, NO_CONTENT } from './answers.ts'
import type { Call, CallHandler } from './call.ts'

export const listGenerations: CallHandler = ({ api, params }) =>
  json(api.operations.listGenerations(params['serviceId'] ?? ''))

export const getGeneration: CallHandler = ({ api, params }) =>
  json(api.operations.getGeneration(refOf(params)))

export const importGeneration: CallHandler = (call) => {
  const { api, exchange, params, actor } = call
  const serviceId = params['serviceId'] ?? ''
  // Nothing is asked of the body before it may come: a caller who waits for "100 Continue" sends
  // none of an upload that is refused.
  api.operations.getService(serviceId)
  const encoding = exchange.header('content-encoding')
  if (encoding !== '') throw new AppError('ERR_BODY_TYPE', 'Content-Encoding is not supported here')
  const length = exchange.header('content-length')
  const uploaded = api.operations.uploadGeneration({
    serviceId,
    generationId: new URLSearchParams(exchange.query).get('generationId'),
    contentType: exchange.header('content-type'),
    declaredBytes: length === '' ? null : Number(length),
    open: () => exchange.bodyStream(),
    actor,
  })
  return uploaded.then(json)
}

export const deleteGeneration: CallHandler = async ({ api, params, actor }) => {
  await api.operations.deleteGeneration(refOf(params), actor)
  return NO_CONTENT
}

export const preloadGeneration: CallHandler = async ({ api, params }) => {
  await api.operations.preloadGeneration(refOf(params))
  return done()
}

export const unloadGeneration: CallHandler = async ({ api, params }) => {
  await api.operations.unloadGeneration(refOf(params))
  return done()
}

export const switchGeneration: CallHandler = async ({ api, params, actor }) => {
  const ref = refOf(params)
  await api.operations.switchTo(ref, actor)
  return done({ generation: ref.generationId })
}

function refOf(params: Call['params']): GenerationRef {
  return { serviceId: params['serviceId'] ?? '', generationId: params['generationId'] ?? '' }
}
