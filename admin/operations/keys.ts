/** Keys that call services, and how much each may ask. Secrets are shown once. */

import { digestOf } from '../../core/auth/credentials.ts'
import { wallMs } from '../../core/base/clock.ts'
import { messageOf } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'
import { newId, newSecret } from '../../core/base/ids.ts'
import type { KeyQuota } from '../../core/channel/messages.ts'
import type { KeyRecord } from '../store/records.ts'
import type { Context } from './context.ts'

/** Changes of keys run one after the other; no service has this name. */
const QUEUE = '/keys'

export interface NewKey {
  readonly label: string
  readonly allowedServices: readonly string[]
  readonly quota?: KeyQuota
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
    ...quotaField(wanted.quota),
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

export interface QuotaChange {
  readonly keyId: string
  readonly quota: KeyQuota
  readonly actor: string
}

/** Counts from now on, also for requests that were let in before. */
export async function setQuota(context: Context, change: QuotaChange): Promise<KeyRecord> {
  return context.perService.run(QUEUE, async () => {
    const before = context.catalog.key(change.keyId)
    const { quota: _, ...rest } = before
    const record: KeyRecord = { ...rest, ...quotaField(change.quota) }
    await context.catalog.commit({
      actor: change.actor,
      action: 'setQuota',
      before: journalView(before),
      after: journalView(record),
      puts: [{ kind: 'key', record }],
      removes: [],
    })
    await context.publisher.apply()
    return record
  })
}

/** Nothing is kept where nothing is limited. */
function quotaField(quota: KeyQuota | undefined): { readonly quota?: KeyQuota } {
  if (quota === undefined) return {}
  const { requestsPerSecond, concurrentRequests } = quota
  return requestsPerSecond === null && concurrentRequests === null ? {} : { quota }
}

/** Answered when no serving process accepts the key any more. */
export async function deleteKey(context: Context, id: string, actor: string): Promise<void> {
  // In a queue, so that of two that delete the same key one gets 404.
  await context.perService.run(QUEUE, async () => {
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
  await perService.run(QUEUE, async () => {
    const used = catalog.keys().flatMap((record) => {
      const lastUse = metrics.lastUse(record.id)
      return lastUse === null || lastUse === record.lastUse ? [] : [{ ...record, lastUse }]
    })
    try {
      if (used.length > 0) await catalog.touchKeys(used)
      await failpoint('keys.touched')
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'the last use of keys was not kept')
    }
  })
}

function journalView(record: KeyRecord): object {
  const { id, label, allowedServices, createdOn, quota = null } = record
  return { id, label, allowedServices, createdOn, quota }
}
