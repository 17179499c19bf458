/** Routes of the keys that call services; only the answer that makes a secret shows it. */

import type { KeyQuota } from '../../core/channel/messages.ts'
import { json, NO_CONTENT } from './answers.ts'
import { BodyReader, CreateAuthKeySchema, UpdateAuthKeySchema } from './bodies.ts'
import type { CallHandler } from './call.ts'

const createBody = new BodyReader(CreateAuthKeySchema)
const updateBody = new BodyReader(UpdateAuthKeySchema)

export const listAuthKeys: CallHandler = ({ api }) => json(api.operations.listKeys())

export const createAuthKey: CallHandler = async ({ api, body, actor }) => {
  const { label = '', allowedServices = [], quota = null } = createBody.read(body)
  const wanted = { label, allowedServices, quota: quotaOf(quota) }
  return json(await api.operations.createKey(wanted, actor))
}

export const getAuthKey: CallHandler = ({ api, params }) =>
  json(api.operations.getKey(params['keyId'] ?? ''))

export const deleteAuthKey: CallHandler = async ({ api, params, actor }) => {
  await api.operations.deleteKey(params['keyId'] ?? '', actor)
  return NO_CONTENT
}

export const updateAuthKey: CallHandler = async ({ api, params, body, actor }) => {
  const { quota } = updateBody.read(body)
  const change = { keyId: params['keyId'] ?? '', quota: quotaOf(quota), actor }
  return json(await api.operations.setQuota(change))
}

/** What is not named is not limited. */
function quotaOf(sent: Partial<KeyQuota> | null): KeyQuota {
  const { requestsPerSecond = null, concurrentRequests = null } = sent ?? {}
  return { requestsPerSecond, concurrentRequests }
}
