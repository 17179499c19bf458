/** Routes of the keys that call services; only the answer that makes a secret shows it. */

import { json, NO_CONTENT } from './answers.ts'
import { BodyReader, CreateAuthKeySchema } from './bodies.ts'
import type { CallHandler } from './call.ts'

const createBody = new BodyReader(CreateAuthKeySchema)

export const listAuthKeys: CallHandler = ({ api }) => json(api.operations.listKeys())

export const createAuthKey: CallHandler = async ({ api, body, actor }) => {
  const { label = '', allowedServices = [] } = createBody.read(body)
  return json(await api.operations.createKey({ label, allowedServices }, actor))
}

export const getAuthKey: CallHandler = ({ api, params }) =>
  json(api.operations.getKey(params['keyId'] ?? ''))

export const deleteAuthKey: CallHandler = async ({ api, params, actor }) => {
  await api.operations.deleteKey(params['keyId'] ?? '', actor)
  return NO_CONTENT
}
