/** What the document says beside operations: groups, path parameters, examples of requests. */

import type { SchemaName } from './schemas.ts'

interface Tag {
  readonly name: string
  readonly description: string
  /** Beginnings of the paths that belong to it. */
  readonly paths: readonly RegExp[]
}

/** The first that fits; the last fits all. */
const TAGS: readonly Tag[] = [
  {
    name: 'generations',
    description: 'Versions of a service: imported bundles, in memory or not, active or not.',
    paths: [/^\/admin\/api\/services\/[^/]+\/generations/],
  },
  {
    name: 'services',
    description: 'What answers queries under one name.',
    paths: [/^\/admin\/api\/services/],
  },
  {
    name: 'keys',
    description: 'Keys that call services.',
    paths: [/^\/admin\/api\/auth\/keys/],
  },
  {
    name: 'admin keys',
    description: 'Keys that administer the node.',
    paths: [/^\/admin\/api\/keys/],
  },
  { name: 'node', description: 'The node itself.', paths: [/^/] },
]

export const TAG_LIST = TAGS.map(({ name, description }) => ({ name, description }))

export function tagOf(path: string): string {
  return TAGS.find(({ paths }) => paths.some((pattern) => pattern.test(path)))?.name ?? 'node'
}

interface Parameter {
  readonly description: string
  readonly example: string
}

/** By name; a parameter that is not here has no more than its name. */
export const PATH_PARAMETERS: Readonly<Record<string, Parameter>> = {
  serviceId: { description: 'Id of the service.', example: 'parcels' },
  generationId: { description: 'Id of the generation.', example: 'v1' },
  secret: { description: 'The key itself.', example: 'ak_4c5b6a' },
  keyId: { description: 'Id of the key, not its secret.', example: 'k_1f2e3d' },
}

/** A body of each kind, as a person would send it. */
export const REQUEST_EXAMPLES: Readonly<Partial<Record<SchemaName, object>>> = {
  CreateServiceRequest: { serviceId: 'parcels' },
  ServiceSettingsRequest: {
    queryLog: 'sample:0.01',
    cors: { origins: ['https://app.example.org'] },
  },
  CreateAuthKeyRequest: {
    label: 'web shop',
    allowedServices: ['parcels'],
    quota: { requestsPerSecond: 100, concurrentRequests: 10 },
  },
  UpdateAuthKeyRequest: { quota: { requestsPerSecond: 200, concurrentRequests: null } },
  CreateAdminKeyRequest: { label: 'pipeline', expiry: '2099-12-31T00:00:00Z' },
  MappingRequest: {
    entries: [
      { generation: 'v1', proba: 0.9 },
      { generation: 'v2', proba: 0.1 },
    ],
  },
}

export const INFO = {
  title: 'Switchyard administration',
  description:
    'Services, generations and keys of one node. Queries go to a port of their own, where each ' +
    'service has a document too: `GET /public/api/v1/{service}/openapi.json`.',
  license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
}

export const SECURITY_SCHEMES = {
  bearer: { type: 'http', scheme: 'bearer', description: 'An admin key.' },
  basic: {
    type: 'http',
    scheme: 'basic',
    description: 'An admin key as user name, without a password.',
  },
}
