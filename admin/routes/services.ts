/** Routes of services: parameters in, one operation, its answer out. */

import { done, json, NO_CONTENT } from './answers.ts'
import { BodyReader, CreateServiceSchema, ServiceSettingsSchema } from './bodies.ts'
import type { CallHandler } from './call.ts'
import { isOtherDialect } from './dialect.ts'

const createBody = new BodyReader(CreateServiceSchema)
const settingsBody = new BodyReader(ServiceSettingsSchema)

export const listServices: CallHandler = ({ api }) => json(api.operations.listServices())

export const createService: CallHandler = async ({ api, body, actor }) => {
  const { serviceId } = createBody.read(body)
  return done(await api.operations.createService(serviceId, actor))
}

export const getService: CallHandler = ({ api, params }) =>
  json(api.operations.getService(params['serviceId'] ?? ''))

export const deleteService: CallHandler = async ({ api, exchange, params, actor }) => {
  const answer = isOtherDialect(exchange) ? done() : NO_CONTENT
  await api.operations.deleteService(params['serviceId'] ?? '', actor)
  return answer
}

export const enableService: CallHandler = async ({ api, params, actor }) => {
  await api.operations.enableService(params['serviceId'] ?? '', actor)
  return done()
}

export const disableService: CallHandler = async ({ api, params, actor }) => {
  await api.operations.disableService(params['serviceId'] ?? '', actor)
  return done()
}

export const getSettings: CallHandler = ({ api, params }) =>
  json(api.operations.getSettings(params['serviceId'] ?? ''))

export const changeSettings: CallHandler = async ({ api, params, body, actor }) => {
  const { serviceId = '' } = params
  const wanted = settingsBody.read(body)
  return json(await api.operations.changeSettings({ ...wanted, serviceId, actor }))
}
