/**
 * Keys that open the admin API. A secret is shown once, when it is made, and kept as a digest. One
 * key that can be used is always left, or nobody could ever make another.
 */

import { digestOf, secretOf } from '../../core/auth/credentials.ts'
import { assert } from '../../core/base/assert.ts'
import { wallMs } from '../../core/base/clock.ts'
import { AppError } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'
import { newId, newSecret } from '../../core/base/ids.ts'
import type { AdminKeyRecord } from '../store/records.ts'
import type { Context } from './context.ts'

const ADMIN_SECRET_CHARS_MIN = 24
const HOW_TO_SEND = 'Authorization: Bearer KEY, or Basic with KEY as user'
/** Id of the admin key that the environment gives. */
const ENV_KEY_ID = 'env'
/** Changes of admin keys run one after the other; no service has this name. */
const QUEUE = '/admin-keys'

export type KeepSecret = (secret: string) => Promise<void>

export interface NewAdminKey {
  readonly label: string
  readonly description: string | null
  readonly createdBy: string | null
  /** Wall clock, ms; null: never. */
  readonly expiry: number | null
}

/**
 * Makes sure that somebody can open the admin API. Returns the secret when one was generated: the
 * only moment at which anybody can see it. `keep` is called before the state knows the key, so that
 * after a crash between the two there is a secret too many, never one that nobody has.
 */
export async function ensureAdminKey(
  context: Context,
  envSecret: string | null,
  keep: KeepSecret = async () => {},
): Promise<string | null> {
  if (envSecret !== null) {
    await acceptEnvKey(context, envSecret)
    return null
  }
  if (context.catalog.adminKeys().length > 0) return null
  const secret = newSecret()
  await keep(secret)
  await failpoint('admin-key.kept')
  const record = recordOf('first', 'made at the first start', secret)
  await put(context, record, { actor: 'node', action: 'putAdminKey' })
  return secret
}

/** The id of the admin key that the header holds; throws 401, or 403 for a key of services. */
export function verifyAdmin(context: Context, authorizationHeader: string): string {
  if (authorizationHeader === '') throw new AppError('ERR_AUTH_MISSING', HOW_TO_SEND)
  const secret = secretOf(authorizationHeader)
  if (secret === null) throw new AppError('ERR_AUTH_MISSING', HOW_TO_SEND)
  const digest = digestOf(secret)
  const admin = context.catalog.adminKeyByDigest(digest)
  if (admin !== null) {
    if (isUsable(admin)) return admin.id
    throw new AppError('ERR_AUTH_UNKNOWN', 'the admin key has expired')
  }
  const known = context.catalog.keyByDigest(digest) !== null
  throw known
    ? new AppError('ERR_AUTH_FORBIDDEN', 'it calls services and is no admin key')
    : new AppError('ERR_AUTH_UNKNOWN')
}

export interface CreatedAdminKey {
  readonly record: AdminKeyRecord
  readonly secret: string
}

export async function createAdminKey(
  context: Context,
  wanted: NewAdminKey,
  actor: string,
): Promise<CreatedAdminKey> {
  const { label, description, createdBy, expiry } = wanted
  const secret = newSecret()
  const record = {
    ...recordOf(newId(), label, secret),
    ...(description === null ? {} : { description }),
    ...(createdBy === null ? {} : { createdBy }),
    ...(expiry === null ? {} : { expiry }),
  }
  await put(context, record, { actor, action: 'createAdminKey' })
  return { record, secret }
}

/** The secret is looked up by its digest and appears in no message and no record. */
export async function deleteAdminKeyBySecret(
  context: Context,
  secret: string,
  actor: string,
): Promise<void> {
  const record = context.catalog.adminKeyByDigest(digestOf(secret))
  if (record === null) {
    throw new AppError('ERR_KEY_UNKNOWN', 'no admin key is this one; …/keys/{id}/key takes an id')
  }
  await deleteAdminKey(context, record.id, actor)
}

export async function deleteAdminKey(context: Context, id: string, actor: string): Promise<void> {
  await context.perService.run(QUEUE, async () => {
    const keys = context.catalog.adminKeys()
    const record = keys.find((key) => key.id === id)
    // Not repeated in the message: somebody may have put a secret in its place.
    if (record === undefined) throw new AppError('ERR_KEY_UNKNOWN', 'no admin key has this id')
    if (!keys.some((key) => key !== record && isUsable(key))) {
      throw new AppError('ERR_KEY_LAST', 'make another first; keys that have expired do not count')
    }
    await context.catalog.commit({
      actor,
      action: 'deleteAdminKey',
      before: journalView(record),
      after: null,
      puts: [],
      removes: [{ kind: 'adminKey', record }],
    })
  })
}

function isUsable({ expiry }: AdminKeyRecord): boolean {
  return expiry === undefined || expiry > wallMs()
}

async function acceptEnvKey(context: Context, secret: string): Promise<void> {
  if (secret.length < ADMIN_SECRET_CHARS_MIN) {
    const detail = `the admin key needs at least ${ADMIN_SECRET_CHARS_MIN} characters`
    throw new AppError('ERR_PARAMETER_INVALID', detail)
  }
  const present = context.catalog.adminKeyByDigest(digestOf(secret))
  if (present !== null && isUsable(present)) return
  const record = recordOf(ENV_KEY_ID, 'given by the environment', secret)
  // An expired key of the same secret must not stand beside it: one digest, one key.
  const expired = present === null ? {} : { instead: present }
  await put(context, record, { actor: 'node', action: 'putAdminKey', ...expired })
}

function recordOf(id: string, label: string, secret: string): AdminKeyRecord {
  assert(secret !== '', 'an empty secret opens nothing')
  return { id, label, sha256: digestOf(secret), createdOn: wallMs() }
}

async function put(
  context: Context,
  record: AdminKeyRecord,
  how: { readonly actor: string; readonly action: string; readonly instead?: AdminKeyRecord },
): Promise<void> {
  const { actor, action, instead } = how
  await context.catalog.commit({
    actor,
    action,
    before: null,
    after: journalView(record),
    puts: [{ kind: 'adminKey', record }],
    removes: instead === undefined ? [] : [{ kind: 'adminKey', record: instead }],
  })
}

function journalView({ sha256: _, ...shown }: AdminKeyRecord): object {
  return shown
}
