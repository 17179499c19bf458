/** Routes of the keys that open this API; only the answer that makes a secret shows it. */

import { wallMs } from '../../core/base/clock.ts'
import { readExpiry } from '../operations/expiry.ts'
import { json, NO_CONTENT } from './answers.ts'
import { BodyReader, CreateAdminKeySchema } from './bodies.ts'
import type { CallHandler } from './call.ts'

const createBody = new BodyReader(CreateAdminKeySchema)

export const listAdminKeys: CallHandler = ({ api }) => json(api.operations.listAdminKeys())

export const createAdminKey: CallHandler = async ({ api, body, actor }) => {
  const { label, description = null, createdBy = null, expiry = null } = createBody.read(body)
  const ends = readExpiry(expiry, wallMs())
  const wanted = { label: label ?? '', description, createdBy, expiry: ends }
  return json(await api.operations.createAdminKey(wanted, actor))
}

export const deleteAdminKey: CallHandler = async ({ api, params, actor }) => {
  await api.operations.deleteAdminKeyBySecret(params['secret'] ?? '', actor)
  return NO_CONTENT
}

export const deleteAdminKeyById: CallHandler = async ({ api, params, actor }) => {
  await api.operations.deleteAdminKey(params['keyId'] ?? '', actor)
  return NO_CONTENT
}
