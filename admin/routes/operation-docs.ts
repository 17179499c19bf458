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

export const DOCS: Readonly<Record<OperationId, Doc>> = {
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
  503: 'Not applied, or not ready; try again',
  507: 'No space left, or the disk cannot be written to',
}
