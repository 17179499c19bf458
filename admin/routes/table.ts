/**
 * Every operation of the admin port, on one screen. The router, the check of keys, the OpenAPI
 * document and the tests all read this table and no other.
 */

/** `metrics-key`: an admin key, unless the node was told that its metrics are public. */
export type Needs = 'admin-key' | 'metrics-key' | 'nothing'

/** What the handler is given of the body. */
export type BodyKind = 'none' | 'json' | 'upload'

interface RouteRow {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  readonly needs: Needs
  readonly body: BodyKind
  readonly operation: string
}

const SERVICES = '/admin/api/services'
const SERVICE = `${SERVICES}/{serviceId}` as const
const GENERATIONS = `${SERVICE}/generations` as const
const GENERATION = `${GENERATIONS}/{generationId}` as const
const KEYS = '/admin/api/auth/keys'
const KEY = `${KEYS}/{keyId}` as const

// biome-ignore format: one row per operation.
export const ROUTES = [
  { method: 'GET', path: SERVICES, needs: 'admin-key', body: 'none', operation: 'listServices' },
  { method: 'POST', path: SERVICES, needs: 'admin-key', body: 'json', operation: 'createService' },
  { method: 'GET', path: SERVICE, needs: 'admin-key', body: 'none', operation: 'getService' },
  { method: 'DELETE', path: SERVICE, needs: 'admin-key', body: 'none', operation: 'deleteService' },
  { method: 'POST', path: `${SERVICE}/enable`, needs: 'admin-key', body: 'none', operation: 'enableService' },
  { method: 'POST', path: `${SERVICE}/disable`, needs: 'admin-key', body: 'none', operation: 'disableService' },
  { method: 'GET', path: GENERATIONS, needs: 'admin-key', body: 'none', operation: 'listGenerations' },
  { method: 'POST', path: GENERATIONS, needs: 'admin-key', body: 'upload', operation: 'importGeneration' },
  { method: 'GET', path: GENERATION, needs: 'admin-key', body: 'none', operation: 'getGeneration' },
  { method: 'DELETE', path: GENERATION, needs: 'admin-key', body: 'none', operation: 'deleteGeneration' },
  { method: 'POST', path: `${GENERATION}/preload`, needs: 'admin-key', body: 'none', operation: 'preloadGeneration' },
  { method: 'POST', path: `${GENERATION}/unload`, needs: 'admin-key', body: 'none', operation: 'unloadGeneration' },
  { method: 'POST', path: `${GENERATION}/switch`, needs: 'admin-key', body: 'none', operation: 'switchGeneration' },
  { method: 'GET', path: KEYS, needs: 'admin-key', body: 'none', operation: 'listAuthKeys' },
  { method: 'POST', path: KEYS, needs: 'admin-key', body: 'json', operation: 'createAuthKey' },
  { method: 'GET', path: KEY, needs: 'admin-key', body: 'none', operation: 'getAuthKey' },
  { method: 'DELETE', path: KEY, needs: 'admin-key', body: 'none', operation: 'deleteAuthKey' },
  { method: 'GET', path: '/admin/api/metrics', needs: 'admin-key', body: 'none', operation: 'getMetrics' },
  { method: 'GET', path: '/admin/api/health', needs: 'nothing', body: 'none', operation: 'getHealth' },
  { method: 'GET', path: '/metrics', needs: 'metrics-key', body: 'none', operation: 'getPrometheus' },
  { method: 'GET', path: '/openapi.json', needs: 'admin-key', body: 'none', operation: 'getOpenApi' },
  { method: 'GET', path: '/isAlive', needs: 'nothing', body: 'none', operation: 'isAlive' },
] as const satisfies readonly RouteRow[]

export type Route = (typeof ROUTES)[number]
export type OperationId = Route['operation']
