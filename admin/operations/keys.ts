/** Keys: those that call services, and those that open the admin API. Secrets are shown once. */

import { digestOf, secretOf } from '../../core/auth/credentials.ts'
import { assert } from '../../core/base/assert.ts'
import { wallMs } from '../../core/base/clock.ts'
import { AppError, messageOf } from '../../core/base/errors.ts'
import { newId, newSecret } from '../../core/base/ids.ts'
import type { AdminKeyRecord, KeyRecord } from '../store/records.ts'
import type { Context } from './context.ts'

const ADMIN_SECRET_CHARS_MIN = 24
const HOW_TO_SEND = 'Authorization: Bearer KEY, or Basic with KEY as user'
/** Id of the admin key that the environment gives. */
const ENV_KEY_ID = 'env'

export interface NewKey {
  readonly label: string
  readonly allowedServices: readonly string[]
}

export interface CreatedKey {
  readonly record: KeyRecord
  readonly secret: string
}

export async function createKey(
  context: Context,
  wanted: NewKey,
  actor: string,
): Promise<CreatedKey> {
  const secret = newSecret()
  const record: KeyRecord = {
    id: newId(),
    label: wanted.label,
    sha256: digestOf(secret),
    allowedServices: [...wanted.allowedServices],
    createdOn: wallMs(),
    lastUse: null,
  }
  await context.catalog.commit({
    actor,
    action: 'createKey',
    before: null,
    after: journalView(record),
    puts: [{ kind: 'key', record }],
    removes: [],
  })
  // Not an error when serving lags: the secret would be lost, and the key works a moment later.
  const applied = await context.serving.whenApplied(context.publisher.publish())
  if (!applied) context.logger.warn({ keyId: record.id }, 'a new key is not yet known to serving')
  return { record, secret }
}

/** Answered when no serving process accepts the key any more. */
export async function deleteKey(context: Context, id: string, actor: string): Promise<void> {
  // In a queue, so that of two that delete the same key one gets 404; no service has this name.
  await context.perService.run('/keys', async () => {
    const record = context.catalog.key(id)
    await context.catalog.commit({
      actor,
      action: 'deleteKey',
      before: journalView(record),
      after: null,
      puts: [],
      removes: [{ kind: 'key', record }],
    })
    await context.publisher.apply()
  })
}

/**
 * Keeps when keys were last used: seldom, and not in the journal, for nobody has decided anything.
 * In the queue of deletes, so that no key that is being deleted is written again.
 */
export async function saveKeyUse({ catalog, metrics, perService, logger }: Context): Promise<void> {
  await perService.run('/keys', async () => {
    const used = catalog.keys().flatMap((record) => {
      const lastUse = metrics.lastUse(record.id)
      return lastUse === null || lastUse === record.lastUse ? [] : [{ ...record, lastUse }]
    })
    try {
      if (used.length > 0) await catalog.touchKeys(used)
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'the last use of keys was not kept')
    }
  })
}

export type KeepSecret = (secret: string) => Promise<void>

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
  await putAdminKey(context, 'first', 'made at the first start', secret)
  return secret
}

/** The id of the admin key that the header holds; throws 401, or 403 for a key of services. */
export function verifyAdmin(context: Context, authorizationHeader: string): string {
  if (authorizationHeader === '') throw new AppError('ERR_AUTH_MISSING', HOW_TO_SEND)
  const secret = secretOf(authorizationHeader)
  if (secret === null) throw new AppError('ERR_AUTH_MISSING', HOW_TO_SEND)
  const digest = digestOf(secret)
  const admin = context.catalog.adminKeyByDigest(digest)
  if (admin !== null) return admin.id
  const known = context.catalog.keyByDigest(digest) !== null
  throw known
    ? new AppError('ERR_AUTH_FORBIDDEN', 'it calls services and is no admin key')
    : new AppError('ERR_AUTH_UNKNOWN')
}

async function acceptEnvKey(context: Context, secret: string): Promise<void> {
  if (secret.length < ADMIN_SECRET_CHARS_MIN) {
    const detail = `the admin key needs at least ${ADMIN_SECRET_CHARS_MIN} characters`
    throw new AppError('ERR_PARAMETER_INVALID', detail)
  }
  if (context.catalog.adminKeyByDigest(digestOf(secret)) !== null) return
  await putAdminKey(context, ENV_KEY_ID, 'given by the environment', secret)
}

async function putAdminKey(
  context: Context,
  id: string,
  label: string,
  secret: string,
): Promise<void> {
  assert(secret !== '', 'an empty secret opens nothing')
  const record: AdminKeyRecord = { id, label, sha256: digestOf(secret), createdOn: wallMs() }
  await context.catalog.commit({
    actor: 'node',
    action: 'putAdminKey',
    before: null,
    after: { id, label },
    puts: [{ kind: 'adminKey', record }],
    removes: [],
  })
}

function journalView(record: KeyRecord): object {
  const { id, label, allowedServices, createdOn } = record
  return { id, label, allowedServices, createdOn }
}
