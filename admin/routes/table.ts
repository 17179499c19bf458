/**
 * Every operation of the admin port, on one screen. The router, the check of keys, the OpenAPI
 * document and the tests all read this table and no other.
 */

/** `metrics-key`: an admin key, unless the node was told that its metrics are public. */
type Needs = 'admin-key' | 'metrics-key' | 'nothing'

/** What the handler is given of the body. */
type BodyKind = 'none' | 'json' | 'upload'

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE'

const SERVICES = '/admin/api/services'
const SERVICE = `${SERVICES}/{serviceId}` as const
const GENERATIONS = `${SERVICE}/generations` as const
const GENERATION = `${GENERATIONS}/{generationId}` as const
const KEYS = '/admin/api/auth/keys'
const KEY = `${KEYS}/{keyId}` as const
const ADMIN_KEYS = '/admin/api/keys'
const ENVIRONMENTS = '/admin/api/cached-code-envs'
const IMPORT = `${GENERATIONS}/actions/importFromArchive` as const

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
  ['GET', `${SERVICE}/settings`, 'admin-key', 'none', 'getSettings'],
  ['PATCH', `${SERVICE}/settings`, 'admin-key', 'json', 'changeSettings'],
  ['GET', GENERATIONS, 'admin-key', 'none', 'listGenerations'],
  ['POST', GENERATIONS, 'admin-key', 'upload', 'importGeneration'],
  ['POST', IMPORT, 'admin-key', 'none', 'importFromArchive'],
  ['GET', GENERATION, 'admin-key', 'none', 'getGeneration'],
  ['DELETE', GENERATION, 'admin-key', 'none', 'deleteGeneration'],
  ['POST', `${GENERATION}/preload`, 'admin-key', 'none', 'preloadGeneration'],
  ['POST', `${GENERATION}/unload`, 'admin-key', 'none', 'unloadGeneration'],
  ['POST', `${GENERATION}/switch`, 'admin-key', 'none', 'switchGeneration'],
  ['GET', KEYS, 'admin-key', 'none', 'listAuthKeys'],
  ['POST', KEYS, 'admin-key', 'json', 'createAuthKey'],
  ['GET', KEY, 'admin-key', 'none', 'getAuthKey'],
  ['PATCH', KEY, 'admin-key', 'json', 'updateAuthKey'],
  ['DELETE', KEY, 'admin-key', 'none', 'deleteAuthKey'],
  ['GET', ADMIN_KEYS, 'admin-key', 'none', 'listAdminKeys'],
  ['POST', ADMIN_KEYS, 'admin-key', 'json', 'createAdminKey'],
  ['DELETE', `${ADMIN_KEYS}/{secret}`, 'admin-key', 'none', 'deleteAdminKey'],
  ['DELETE', `${ADMIN_KEYS}/{keyId}/key`, 'admin-key', 'none', 'deleteAdminKeyById'],
  ['DELETE', '/admin/api/services-clean-unused', 'admin-key', 'none', 'cleanUnused'],
  ['POST', ENVIRONMENTS, 'admin-key', 'none', 'importCodeEnvironment'],
  ['DELETE', ENVIRONMENTS, 'admin-key', 'none', 'cleanCodeEnvironments'],
  ['POST', '/admin/api/register-global-code-env', 'admin-key', 'none', 'registerCodeEnvironment'],
  ['POST', '/admin/api/model-cache', 'admin-key', 'none', 'importModelArchive'],
  ['DELETE', '/admin/api/model-cache', 'admin-key', 'none', 'clearModelCache'],
  ['POST', '/admin/api/actions/replace-serving', 'admin-key', 'none', 'replaceServing'],
  ['POST', '/admin/api/actions/reload-certificates', 'admin-key', 'none', 'reloadCertificates'],
  ['GET', '/admin/api/metrics', 'admin-key', 'none', 'getMetrics'],
  ['GET', '/admin/api/health', 'nothing', 'none', 'getHealth'],
  ['GET', '/metrics', 'metrics-key', 'none', 'getPrometheus'],
  ['GET', '/openapi.json', 'admin-key', 'none', 'getOpenApi'],
  ['GET', '/docs', 'nothing', 'none', 'getDocs'],
  ['GET', '/docs/{file}', 'nothing', 'none', 'getDocsFile'],
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
