/** Routes of generations: import by upload, look, preload, switch, delete. */

import { AppError } from '../../core/base/errors.ts'
import type { GenerationRef } from '../../core/base/ids.ts'
import { done, json, NO_CONTENT } from './answers.ts'
import type { Call, CallHandler } from './call.ts'
import { isOtherDialect } from './dialect.ts'

/** What a cache in between would have to look at, since two kinds of callers get two shapes. */
const VARY = { Vary: 'Authorization, Accept' }

const DETAIL_CHARS_MAX = 4_000

/** Clients of the other dialect need an object, and are known by their Basic authentication. */
export const listGenerations: CallHandler = ({ api, exchange, params }) => {
  const wanted = new URLSearchParams(exchange.query).get('shape')
  const shape = wanted ?? (isOtherDialect(exchange) ? 'object' : 'array')
  if (shape !== 'array' && shape !== 'object') {
    throw new AppError('ERR_PARAMETER_INVALID', 'shape: allowed is "array" or "object"')
  }
  const generations = api.operations.listGenerations(params['serviceId'] ?? '')
  return { ...json(shape === 'array' ? generations : { generations }), headers: VARY }
}

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

export const importFromArchive: CallHandler = async ({ api, exchange, params, actor }) => {
  const { serviceId = '' } = params
  api.operations.getService(serviceId)
  const query = new URLSearchParams(exchange.query)
  const filePath = query.get('filePath') ?? ''
  const generationId = query.get('generationId')
  if (filePath === '') throw new AppError('ERR_PARAMETER_INVALID', 'filePath is missing')
  const request = { serviceId, filePath, generationId, actor }
  const imported = await api.operations.importFromArchive(request).catch(withAllFaults)
  return done(imported)
}

/** Whoever imports this way shows people the text of a failure and not its list of faults. */
function withAllFaults(thrown: unknown): never {
  if (!(thrown instanceof AppError) || thrown.faults.length < 2) throw thrown
  const { code, faults, status } = thrown
  const told = faults.map(({ path, reason }) => (path === '' ? reason : `${path}: ${reason}`))
  throw new AppError(code, told.join('; ').slice(0, DETAIL_CHARS_MAX), faults, status)
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
