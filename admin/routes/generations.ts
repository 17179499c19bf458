/** Routes of generations: import by upload, look, preload, switch, delete. */

import { rm } from 'node:fs/promises'
import { AppError } from '../../core/base/errors.ts'
import type { GenerationRef } from '../../core/base/ids.ts'
import { receiveUpload } from '../bundle/upload.ts'
import { requireSpace } from '../store/space.ts'
import { done, json, NO_CONTENT } from './answers.ts'
import type { Call, CallHandler } from './call.ts'

export const listGenerations: CallHandler = ({ api, params }) =>
  json(api.operations.listGenerations(params['serviceId'] ?? ''))

export const getGeneration: CallHandler = ({ api, params }) =>
  json(api.operations.getGeneration(refOf(params)))

export const importGeneration: CallHandler = (call) => {
  const { api, exchange, params } = call
  const serviceId = params['serviceId'] ?? ''
  // Before a byte of the body is asked for: a caller who waits for "100 Continue" sends none.
  api.operations.getService(serviceId)
  const encoding = exchange.header('content-encoding')
  if (encoding !== '') throw new AppError('ERR_BODY_TYPE', 'Content-Encoding is not supported here')
  const declaredBytes = Number(exchange.header('content-length') || 0)
  const contentType = exchange.header('content-type')
  const source = { stream: exchange.bodyStream(), contentType }
  return receiveAndImport(call, serviceId, { source, declaredBytes })
}

interface Incoming {
  readonly source: Parameters<typeof receiveUpload>[0]
  readonly declaredBytes: number
}

async function receiveAndImport(call: Call, serviceId: string, incoming: Incoming) {
  const { api, exchange, actor } = call
  await requireSpace(api.home.staging, incoming.declaredBytes)
  const archivePath = api.home.stagingPath('upload')
  try {
    const { fileName } = await receiveUpload(incoming.source, archivePath)
    const generationId = new URLSearchParams(exchange.query).get('generationId')
    const request = { serviceId, archivePath, generationId, fileName, actor }
    return json(await api.operations.importGeneration(request))
  } finally {
    await rm(archivePath, { force: true })
  }
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
