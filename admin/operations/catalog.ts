/**
 * The committed records in memory, so that reading never waits: loaded once, and changed only after
 * the store has said that a change is durable. Control is the only writer of its store.
 */

import { AppError } from '../../core/base/errors.ts'
import { refKey } from '../../core/base/ids.ts'
import type {
  AdminKeyRecord,
  GenerationRecord,
  KeyRecord,
  ServiceRecord,
  StateRecord,
} from '../store/records.ts'
import type { StateChange, StateStore } from '../store/state-store.ts'

interface ServiceEntry {
  record: ServiceRecord
  readonly generations: Map<string, GenerationRecord>
}

export class Catalog {
  readonly #store: StateStore
  readonly #services = new Map<string, ServiceEntry>()
  readonly #keys = new Map<string, KeyRecord>()
  readonly #adminKeys = new Map<string, AdminKeyRecord>()
  readonly #adminByDigest = new Map<string, AdminKeyRecord>()
  readonly #keyByDigest = new Map<string, KeyRecord>()
  /** Generations whose files are not what their record says, and why; found at start. */
  readonly #quarantine = new Map<string, string>()
  /** Those of which that was found out while they were in memory, where they stay. */
  readonly #damaged = new Map<string, string>()
  #sequence = 0
  #onReload: () => void = () => {}

  private constructor(store: StateStore) {
    this.#store = store
  }

  static async load(store: StateStore): Promise<Catalog> {
    const catalog = new Catalog(store)
    await catalog.#fill()
    return catalog
  }

  /** Called when records have changed though no change was made: see #write. At most one. */
  onReload(listener: () => void): void {
    this.#onReload = listener
  }

  /** Durable first, visible afterwards; all or nothing. */
  async commit(change: StateChange): Promise<void> {
    await this.#write(() => this.#store.commit(change))
    for (const item of change.removes) this.#remove(item)
    for (const item of change.puts) this.#put(this.#thin(item))
  }

  /** Keys that exist, with a newer last use; no change that anybody made. */
  async touchKeys(records: readonly KeyRecord[]): Promise<void> {
    const puts = records.map((record) => ({ kind: 'key', record }) as const)
    await this.#write(() => this.#store.touch(puts))
    for (const item of puts) this.#put(item)
  }

  /** The same of a service, while nothing else changes it. */
  async touchService(record: ServiceRecord): Promise<void> {
    const item = { kind: 'service', record } as const
    await this.#write(() => this.#store.touch([item]))
    this.#put(item)
  }

  /** Nobody has ever used this state: a node makes an admin key before anything else. */
  isEmpty(): boolean {
    return this.#services.size === 0 && this.#keys.size === 0 && this.#adminKeys.size === 0
  }

  services(): ServiceRecord[] {
    return sorted([...this.#services.values()].map((entry) => entry.record))
  }

  findService(id: string): ServiceRecord | null {
    return this.#services.get(id)?.record ?? null
  }

  service(id: string): ServiceRecord {
    const record = this.findService(id)
    if (record === null) throw new AppError('ERR_SERVICE_UNKNOWN', shown(id))
    return record
  }

  /** In the order of their import, oldest first. */
  generations(serviceId: string): GenerationRecord[] {
    const generations = this.#services.get(serviceId)?.generations.values() ?? []
    return [...generations].sort((a, b) => a.sequence - b.sequence)
  }

  generationCount(serviceId: string): number {
    return this.#services.get(serviceId)?.generations.size ?? 0
  }

  findGeneration(serviceId: string, id: string): GenerationRecord | null {
    return this.#services.get(serviceId)?.generations.get(id) ?? null
  }

  generation(serviceId: string, id: string): GenerationRecord {
    this.service(serviceId)
    const record = this.findGeneration(serviceId, id)
    if (record === null) throw new AppError('ERR_GENERATION_UNKNOWN', shown(id))
    return record
  }

  keys(): KeyRecord[] {
    return sorted([...this.#keys.values()])
  }

  key(id: string): KeyRecord {
    const record = this.#keys.get(id)
    if (record === undefined) throw new AppError('ERR_KEY_UNKNOWN', shown(id))
    return record
  }

  keyByDigest(sha256: string): KeyRecord | null {
    return this.#keyByDigest.get(sha256) ?? null
  }

  adminKeys(): AdminKeyRecord[] {
    return sorted([...this.#adminKeys.values()])
  }

  adminKeyByDigest(sha256: string): AdminKeyRecord | null {
    return this.#adminByDigest.get(sha256) ?? null
  }

  nextSequence(): number {
    this.#sequence += 1
    return this.#sequence
  }

  quarantine(serviceId: string, generationId: string, reason: string): void {
    this.#quarantine.set(refKey({ serviceId, generationId }), reason)
  }

  endQuarantine(serviceId: string, generationId: string): void {
    this.#quarantine.delete(refKey({ serviceId, generationId }))
    this.#damaged.delete(refKey({ serviceId, generationId }))
  }

  markDamaged(serviceId: string, generationId: string, reason: string): void {
    this.#damaged.set(refKey({ serviceId, generationId }), reason)
  }

  /** What is wrong with the files of a generation that serves from memory, or null. */
  damaged(serviceId: string, generationId: string): string | null {
    return this.#damaged.get(refKey({ serviceId, generationId })) ?? null
  }

  /** Why the generation cannot be used, or null. */
  quarantined(serviceId: string, generationId: string): string | null {
    return this.#quarantine.get(refKey({ serviceId, generationId })) ?? null
  }

  /**
   * A write that failed may have been done: a disk can fail after the change and before its flush.
   * Then what is stored counts, for the next start will count it too; a node that went on with the
   * state of before would commit changes which that contradicts.
   */
  async #write(write: () => Promise<unknown>): Promise<void> {
    try {
      await write()
    } catch (error) {
      if (this.#store.isUncertain) {
        await this.#fill()
        this.#onReload()
      }
      throw error
    }
  }

  async #fill(): Promise<void> {
    const records = await this.#store.load()
    for (const map of [this.#services, this.#keys, this.#keyByDigest]) map.clear()
    for (const map of [this.#adminKeys, this.#adminByDigest]) map.clear()
    // Services first: a generation is filed under its service.
    for (const item of records) if (item.kind === 'service') this.#put(item)
    for (const item of records) if (item.kind !== 'service') this.#put(item)
  }

  #thin(item: StateRecord): StateRecord {
    return item.kind === 'generation' ? { ...item, record: this.#store.thin(item.record) } : item
  }

  #put(item: StateRecord): void {
    switch (item.kind) {
      case 'service':
        this.#putService(item.record)
        return
      case 'generation':
        this.#putGeneration(item.record)
        return
      case 'key':
        this.#keys.set(item.record.id, item.record)
        this.#keyByDigest.set(item.record.sha256, item.record)
        return
      case 'adminKey':
        this.#dropAdminKey(item.record.id)
        this.#adminKeys.set(item.record.id, item.record)
        this.#adminByDigest.set(item.record.sha256, item.record)
        return
    }
  }

  #remove(item: StateRecord): void {
    const { kind, record } = item
    switch (kind) {
      case 'service':
        this.#services.delete(record.id)
        return
      case 'generation':
        this.#services.get(record.serviceId)?.generations.delete(record.id)
        this.endQuarantine(record.serviceId, record.id)
        return
      case 'key':
        this.#keys.delete(record.id)
        this.#keyByDigest.delete(record.sha256)
        return
      case 'adminKey':
        this.#dropAdminKey(record.id)
        return
    }
  }

  #putService(record: ServiceRecord): void {
    const entry = this.#services.get(record.id)
    if (entry === undefined) this.#services.set(record.id, { record, generations: new Map() })
    else entry.record = record
  }

  #putGeneration(record: GenerationRecord): void {
    const entry = this.#services.get(record.serviceId)
    if (entry === undefined) {
      const name = `generation/${record.serviceId}/${record.id}`
      throw new AppError('ERR_STORE_DAMAGED', `${name}: its service has no record`)
    }
    entry.generations.set(record.id, record)
    this.#sequence = Math.max(this.#sequence, record.sequence)
  }

  #dropAdminKey(id: string): void {
    const record = this.#adminKeys.get(id)
    if (record === undefined) return
    this.#adminKeys.delete(id)
    this.#adminByDigest.delete(record.sha256)
  }
}

function sorted<T extends { readonly id: string }>(records: T[]): T[] {
  return records.sort((a, b) => (a.id < b.id ? -1 : 1))
}

/** An id as the caller wrote it, cut so that an error never echoes a novel. */
function shown(id: string): string {
  return id.slice(0, 128)
}
