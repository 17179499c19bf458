/**
 * What a node must remember, kept by somebody outside it: a pure model of services, generations and
 * keys, the operations that change it, and the node's own account in the same form. After a crash
 * the node must be where the acknowledged operations led, with each pending one done or not done.
 */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { JournalEntry } from '../../admin/store/records.ts'
import { bundleOf, type Client, type Reply } from './client.ts'
import { regressor } from './onnx-models.ts'

export type Operation =
  | { readonly kind: 'createService' | 'deleteService'; readonly service: string }
  | { readonly kind: 'enableService' | 'disableService'; readonly service: string }
  | {
      readonly kind: 'importGeneration' | 'switchGeneration' | 'deleteGeneration'
      readonly service: string
      readonly generation: string
    }
  | {
      readonly kind: 'setMapping'
      readonly service: string
      /** In the order of SHARES. */
      readonly generations: readonly string[]
    }
  | { readonly kind: 'changeSettings'; readonly service: string; readonly queryLog: string }
  | { readonly kind: 'createKey' | 'deleteKey'; readonly label: string }

export type Kind = Operation['kind']

/** Of a mapping of two generations. */
const SHARES = [0.25, 0.75]

export interface ServiceState {
  readonly enabled: boolean
  /** Shares of generations. */
  readonly mapping: Readonly<Record<string, number>>
  readonly queryLog: string
  readonly generations: readonly string[]
}

/** Sorted everywhere, so that equal states are equal JSON. */
export interface State {
  readonly services: Readonly<Record<string, ServiceState>>
  /** Labels of keys. */
  readonly keys: readonly string[]
}

export const EMPTY: State = { services: {}, keys: [] }
const NEW_SERVICE: ServiceState = {
  enabled: true,
  mapping: {},
  queryLog: 'off',
  generations: [],
}

export function applied(state: State, operation: Operation): State {
  switch (operation.kind) {
    case 'createKey':
      return { ...state, keys: [...state.keys, operation.label].sort() }
    case 'deleteKey':
      return { ...state, keys: state.keys.filter((label) => label !== operation.label) }
    case 'deleteService': {
      const { [operation.service]: _, ...services } = state.services
      return { ...state, services }
    }
    default: {
      const { service } = operation
      const changed = changedService(state.services[service] ?? NEW_SERVICE, operation)
      return { ...state, services: sorted({ ...state.services, [service]: changed }) }
    }
  }
}

function changedService(before: ServiceState, operation: Operation): ServiceState {
  const { generations } = before
  switch (operation.kind) {
    case 'enableService':
      return { ...before, enabled: true }
    case 'disableService':
      return { ...before, enabled: false }
    case 'importGeneration':
      return { ...before, generations: [...generations, operation.generation].sort() }
    case 'switchGeneration':
      return { ...before, mapping: { [operation.generation]: 1 } }
    case 'setMapping':
      return { ...before, enabled: true, mapping: sharesOf(operation.generations) }
    case 'changeSettings':
      return { ...before, queryLog: operation.queryLog }
    case 'deleteGeneration':
      return { ...before, generations: generations.filter((id) => id !== operation.generation) }
    default:
      return before
  }
}

function sharesOf(generations: readonly string[]): Record<string, number> {
  return sorted(Object.fromEntries(generations.map((id, i) => [id, SHARES[i] ?? 0])))
}

/** Every state that is right when each of `pending`, which touch different things, may be done. */
export function outcomes(state: State, pending: readonly Operation[]): State[] {
  return pending.reduce(
    (states, operation) => states.flatMap((one) => [one, applied(one, operation)]),
    [state],
  )
}

/** A generation `g7` multiplies by seven: its answers tell which it is. */
export function bundleNamed(generation: string): Buffer {
  return bundleOf(regressor(2, Number(generation.slice(1))))
}

/** `keyIds` leads from labels to ids. */
export function perform(
  client: Client,
  operation: Operation,
  keyIds: ReadonlyMap<string, string> = new Map(),
): Promise<Reply> {
  switch (operation.kind) {
    case 'createService':
      return client.admin('POST', '/services', { serviceId: operation.service })
    case 'deleteService':
      return client.admin('DELETE', `/services/${operation.service}`)
    case 'enableService':
      return client.admin('POST', `/services/${operation.service}/enable`)
    case 'disableService':
      return client.admin('POST', `/services/${operation.service}/disable`)
    case 'importGeneration': {
      const { service, generation } = operation
      return client.upload(service, generation, bundleNamed(generation))
    }
    case 'switchGeneration':
      return client.switchTo(operation.service, operation.generation)
    case 'setMapping': {
      const { generations } = operation
      const entries = generations.map((generation, i) => ({ generation, proba: SHARES[i] }))
      const path = `/services/${operation.service}/actions/setMapping`
      return client.admin('POST', path, { entries })
    }
    case 'changeSettings': {
      const { service, queryLog } = operation
      return client.admin('PATCH', `/services/${service}/settings`, { queryLog })
    }
    case 'deleteGeneration':
      return client.admin(
        'DELETE',
        `/services/${operation.service}/generations/${operation.generation}`,
      )
    case 'createKey':
      return client.admin('POST', '/auth/keys', { label: operation.label })
    case 'deleteKey':
      return client.admin('DELETE', `/auth/keys/${keyIds.get(operation.label)}`)
  }
}

/** What the node says that it holds. */
export async function stateOf(client: Client): Promise<State> {
  const services: Record<string, ServiceState> = {}
  for (const { serviceId } of await listed(client, '/services')) {
    services[serviceId] = await serviceStateOf(client, serviceId)
  }
  const keys = await listed(client, '/auth/keys')
  return { services: sorted(services), keys: keys.map(({ label }) => String(label)).sort() }
}

async function serviceStateOf(client: Client, serviceId: string): Promise<ServiceState> {
  const path = `/services/${serviceId}`
  const { enabled, mapping, settings } = await asked(client, path)
  const shares = mapping.entries.map((one: { generation: string; proba: number }) => {
    return [one.generation, one.proba]
  })
  const generations = await listed(client, `${path}/generations`)
  return {
    enabled,
    mapping: sorted(Object.fromEntries(shares)),
    queryLog: settings.queryLog,
    generations: generations.map(({ generationId }) => String(generationId)).sort(),
  }
}

function listed(client: Client, path: string): Promise<Reply['body'][]> {
  return asked(client, path)
}

async function asked(client: Client, path: string): Promise<Reply['body']> {
  const { status, body } = await client.admin('GET', path)
  if (status !== 200) throw new Error(`${path}: ${status} ${JSON.stringify(body)}`)
  return body
}

/** What lies in the folder of generations, as `service/generation`. */
export function generationsOnDisk(home: string): string[] {
  const folder = join(home, 'generations')
  return readdirSync(folder)
    .flatMap((service) => {
      const below = readdirSync(join(folder, service))
      return below.length === 0 ? [service] : below.map((generation) => `${service}/${generation}`)
    })
    .sort()
}

/** What must lie there. */
export function generationsOf({ services }: State): string[] {
  return Object.entries(services)
    .flatMap(([service, { generations }]) => generations.map((id) => `${service}/${id}`))
    .sort()
}

/** The operations that the journal tells of, oldest first; null for what the node did by itself. */
export function operationOf({ action, before, after }: JournalEntry): Operation | null {
  const about = { ...asFields(before), ...asFields(after) }
  const service = String(about['serviceId'])
  switch (action) {
    case 'createService':
    case 'deleteService':
    case 'enableService':
    case 'disableService':
      return { kind: action, service }
    case 'importGeneration':
    case 'deleteGeneration':
      return { kind: action, service, generation: String(about['generationId']) }
    case 'switchGeneration': {
      const [generation = ''] = mappedIn(about)
      return { kind: action, service, generation }
    }
    case 'setMapping':
      return { kind: action, service, generations: mappedIn(about) }
    case 'changeSettings':
      return { kind: action, service, queryLog: String(about['queryLog']) }
    case 'createKey':
    case 'deleteKey':
      return { kind: action, label: String(about['label']) }
    default:
      return null
  }
}

function mappedIn({ mapping }: Record<string, unknown>): string[] {
  return Array.isArray(mapping) ? mapping.map(({ generationId }) => String(generationId)) : []
}

function asFields(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}

function sorted<T>(record: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)))
}
