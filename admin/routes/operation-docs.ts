/** What the OpenAPI document says of each operation beside its route: texts, answers, errors. */

import type { SchemaName } from './schemas.ts'
import type { OperationId } from './table.ts'

interface QueryParameter {
  readonly description: string
  readonly required?: true
  readonly choices?: readonly string[]
}

export interface Doc {
  readonly summary: string
  /** Of the 200 answer; null: 204 without a body. */
  readonly answer: SchemaName | null
  readonly list?: true
  /** A list that some callers get as this field of an object. */
  readonly wrapped?: string
  readonly request?: SchemaName
  readonly query?: Readonly<Record<string, QueryParameter>>
  /** Statuses beside those that every operation with a key can answer. */
  readonly errors?: readonly number[]
}

/** Null: what a page loads is no part of the API. */
export const DOCS: Readonly<Record<OperationId, Doc | null>> = {
  listServices: { summary: 'Deployed services', answer: 'ServiceSummary', list: true },
  createService: {
    summary: 'Create a service',
    answer: 'Done',
    request: 'CreateServiceRequest',
    errors: [400, 409, 503, 507],
  },
  getService: { summary: 'Service details', answer: 'Service', errors: [404] },
  deleteService: {
    summary: 'Drain and remove the service and all its generations',
    answer: null,
    errors: [404, 409],
  },
  enableService: {
    summary: 'Load what is mapped, then answer requests',
    answer: 'Done',
    errors: [404, 422, 503],
  },
  disableService: { summary: 'Answer 503 to requests', answer: 'Done', errors: [404, 503] },
  getSettings: {
    summary: 'What is set for a service, whatever generation answers',
    answer: 'ServiceSettings',
    errors: [404],
  },
  changeSettings: {
    summary: 'Set the query log or the allowed web origins; what is not named stays',
    answer: 'ServiceSettings',
    request: 'ServiceSettingsRequest',
    errors: [400, 404, 503, 507],
  },
  listGenerations: {
    summary: 'Imported generations, oldest first',
    answer: 'GenerationSummary',
    list: true,
    wrapped: 'generations',
    query: {
      shape: {
        description:
          'A list, or an object that holds it. Default: the object to callers with Basic ' +
          'authentication, as clients of the other dialect expect it, the list to all others.',
        choices: ['array', 'object'],
      },
    },
    errors: [400, 404],
  },
  enableServiceAction: {
    summary: 'Load what is mapped, then answer requests',
    answer: 'Done',
    errors: [404, 422, 503, 507],
  },
  disableServiceAction: {
    summary: 'Answer 503 to requests',
    answer: 'Done',
    errors: [404, 503, 507],
  },
  setMapping: {
    summary: 'Load all of these, then share the traffic among them; enables the service',
    answer: 'Done',
    request: 'MappingRequest',
    errors: [400, 404, 409, 422, 503, 507],
  },
  switchToNewest: {
    summary: 'Switch to the generation that was imported last; enables the service',
    answer: 'Done',
    errors: [404, 409, 422, 503, 507],
  },
  switchToGeneration: {
    summary: 'Load, then make it the only active generation; enables the service',
    answer: 'Done',
    errors: [404, 409, 422, 503, 507],
  },
  importGeneration: {
    summary: 'Import a bundle; the same content again answers 200 again',
    answer: 'GenerationSummary',
    query: {
      generationId: { description: 'Id of the generation, when the manifest does not say it.' },
    },
    errors: [400, 404, 408, 409, 413, 415, 422, 507],
  },
  importFromArchive: {
    summary: 'Import a bundle that lies in one of the import folders of the node',
    answer: 'GenerationSummary',
    query: {
      filePath: { description: 'Absolute path on the node.', required: true },
      generationId: { description: 'Id of the generation, when the manifest does not say it.' },
    },
    errors: [400, 404, 409, 413, 422, 507],
  },
  getGeneration: {
    summary: 'Generation details, also while it is imported',
    answer: 'Generation',
    errors: [404],
  },
  deleteGeneration: {
    summary: 'Remove a generation that is not active',
    answer: null,
    errors: [404, 409],
  },
  preloadGeneration: { summary: 'Load into memory', answer: 'Done', errors: [404, 409, 422] },
  unloadGeneration: { summary: 'Remove from memory', answer: 'Done', errors: [404, 409, 503] },
  switchGeneration: {
    summary: 'Load, then make it the active generation',
    answer: 'Done',
    errors: [404, 409, 422, 503, 507],
  },
  listAuthKeys: {
    summary: 'Keys that call services, without their secrets',
    answer: 'AuthKey',
    list: true,
  },
  createAuthKey: {
    summary: 'Create a key; the only answer that shows it',
    answer: 'AuthKey',
    request: 'CreateAuthKeyRequest',
    errors: [400, 507],
  },
  getAuthKey: { summary: 'One key, without its secret', answer: 'AuthKey', errors: [404] },
  deleteAuthKey: {
    summary: 'Delete a key; answered when no process accepts it',
    answer: null,
    errors: [404, 503],
  },
  updateAuthKey: {
    summary: 'Set the quota of a key; answered when it is in force',
    answer: 'AuthKey',
    request: 'UpdateAuthKeyRequest',
    errors: [400, 404, 503, 507],
  },
  listAdminKeys: {
    summary: 'Keys that open this API, without their secrets',
    answer: 'AdminKey',
    list: true,
  },
  createAdminKey: {
    summary: 'Create an admin key; the only answer that shows it',
    answer: 'AdminKey',
    request: 'CreateAdminKeyRequest',
    errors: [400, 507],
  },
  deleteAdminKey: {
    summary: 'Delete an admin key by its secret; by its id is better, for paths get logged',
    answer: null,
    errors: [404, 409, 507],
  },
  deleteAdminKeyById: { summary: 'Delete an admin key', answer: null, errors: [404, 409, 507] },
  cleanUnused: {
    summary:
      'Remove disabled services, generations without traffic and unused Python environments; ' +
      'what is preloaded, kept for a rollback, imported or loaded stays',
    answer: 'Cleaned',
    errors: [503, 507],
  },
  importCodeEnvironment: {
    summary: 'Not done by this node: environments are made when a bundle is imported',
    answer: 'Done',
    errors: [501],
  },
  cleanCodeEnvironments: {
    summary: 'Remove Python environments that no generation needs',
    answer: 'CleanedEnvironments',
  },
  registerCodeEnvironment: {
    summary: 'Not done by this node: environments are made when a bundle is imported',
    answer: 'Done',
    errors: [501],
  },
  importModelArchive: {
    summary: 'Not done by this node: models come with their bundle',
    answer: 'Done',
    errors: [501],
  },
  clearModelCache: { summary: 'Nothing is cached, so nothing is removed', answer: 'Done' },
  reloadCertificates: {
    summary: 'Take new certificate files now; answered when both ports use them',
    answer: 'ReloadedCertificates',
    errors: [409, 422, 507],
  },
  replaceServing: {
    summary: 'New serving processes in the place of all that serve, without a failed request',
    answer: 'Replaced',
    errors: [503],
  },
  getMetrics: { summary: 'Request counts, latencies and error rates', answer: 'Metrics' },
  getHealth: { summary: 'Health of the node and its causes', answer: 'HealthStatus' },
  getPrometheus: { summary: 'Metrics for Prometheus', answer: null },
  getOpenApi: { summary: 'This document', answer: null },
  getDocs: { summary: 'A page that shows this document', answer: null },
  getDocsFile: null,
  isAlive: { summary: '200 while queries are served', answer: 'Alive', errors: [503] },
}

export const DESCRIPTIONS: Readonly<Record<number, string>> = {
  400: 'Invalid request',
  401: 'Unauthorized',
  403: 'The key may not do this, or the request comes from another web origin',
  404: 'Not found',
  408: 'The body stopped coming',
  409: 'In conflict with what is there',
  413: 'Over the limit of size',
  415: 'Of a kind that cannot be read',
  422: 'The bundle is well formed but cannot be loaded or failed its test queries',
  501: 'Not done by this node',
  503: 'Not applied, or not ready; try again',
  507: 'No space left, or the disk cannot be written to',
}
