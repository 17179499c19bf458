/**
 * Every operation of the admin port, on one screen. The router, the check of keys, the OpenAPI
 * document and the tests all read this table and no other.
 */

/** `metrics-key`: an admin key, unless the node was told that its metrics are public. */
type Needs = 'admin-key' | 'metrics-key' | 'nothing'

/** What the handler is given of the body. */
type BodyKind = 'none' | 'json' | 'upload'

type Method = 'GET' | 'POST' | 'DELETE'

const SERVICES = '/admin/api/services'
const SERVICE = `${SERVICES}/{serviceId}` as const
const GENERATIONS = `${SERVICE}/generations` as const
const GENERATION = `${GENERATIONS}/{generationId}` as const
const KEYS = '/admin/api/auth/keys'
const KEY = `${KEYS}/{keyId}` as const

/** Method, path, what it needs, its body, its handler. */
const TABLE = [
  ['GET', SERVICES, 'admin-key', 'none', 'listServices'],
  ['POST', SERVICES, 'admin-key', 'json', 'createService'],
  ['GET', SERVICE, 'admin-key', 'none', 'getService'],
  ['DELETE', SERVICE, 'admin-key', 'none', 'deleteService'],
  ['POST', `${SERVICE}/enable`, 'admin-key', 'none', 'enableService'],
  ['POST', `${SERVICE}/disable`, 'admin-key', 'none', 'disableService'],
  ['POST', `${SERVICE}/actions/enable`, 'admin-key', 'none', 'enableServiceAction'],
  ['POST', `${SERVICE}/actions/disable`, 'admin-key', 'none', 'disableServiceAction'],
  ['POST', `${SERVICE}/actions/setMapping`, 'admin-key', 'json', 'setMapping'],
  ['POST', `${SERVICE}/actions/switchToNewest`, 'admin-key', 'none', 'switchToNewest'],
  ['POST', `${SERVICE}/actions/switchTo/{generationId}`, 'admin-key', 'none', 'switchToGeneration'],
  ['GET', GENERATIONS, 'admin-key', 'none', 'listGenerations'],
  ['POST', GENERATIONS, 'admin-key', 'upload', 'importGeneration'],
  ['GET', GENERATION, 'admin-key', 'none', 'getGeneration'],
  ['DELETE', GENERATION, 'admin-key', 'none', 'deleteGeneration'],
  ['POST', `${GENERATION}/preload`, 'admin-key', 'none', 'preloadGeneration'],
  ['POST', `${GENERATION}/unload`, 'admin-key', 'none', 'unloadGeneration'],
  ['POST', `${GENERATION}/switch`, 'admin-key', 'none', 'switchGeneration'],
  ['GET', KEYS, 'admin-key', 'none', 'listAuthKeys'],
  ['POST', KEYS, 'admin-key', 'json', 'createAuthKey'],
  ['GET', KEY, 'admin-key', 'none', 'getAuthKey'],
  ['DELETE', KEY, 'admin-key', 'none', 'deleteAuthKey'],
  ['POST', '/admin/api/actions/replace-serving', 'admin-key', 'none', 'replaceServing'],
  ['POST', '/admin/api/actions/reload-certificates', 'admin-key', 'none', 'reloadCertificates'],
  ['GET', '/admin/api/metrics', 'admin-key', 'none', 'getMetrics'],
  ['GET', '/admin/api/health', 'nothing', 'none', 'getHealth'],
  ['GET', '/metrics', 'metrics-key', 'none', 'getPrometheus'],
  ['GET', '/openapi.json', 'admin-key', 'none', 'getOpenApi'],
  ['GET', '/isAlive', 'nothing', 'none', 'isAlive'],
] as const satisfies readonly (readonly [Method, string, Needs, BodyKind, string])[]

export type OperationId = (typeof TABLE)[number][4]

export interface Route {
  readonly method: Method
  readonly path: string
  readonly needs: Needs
  readonly body: BodyKind
  readonly operation: OperationId
}

export const ROUTES: readonly Route[] = TABLE.map(([method, path, needs, body, operation]) => ({
  method,
  path,
  needs,
  body,
  operation,
}))
