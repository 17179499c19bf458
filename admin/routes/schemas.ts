/**
 * What the admin API answers, as JSON Schema. Fields that other nodes' clients read come first in
 * each; objects stay open, because adding a field is always compatible.
 */

import type { TSchema } from '@sinclair/typebox'
import { ENDPOINT_TYPES } from '../../core/bundle/endpoint-types.ts'
import { Type } from '../../core/bundle/schema-builder.ts'
import {
  CreateAdminKeySchema,
  CreateAuthKeySchema,
  CreateServiceSchema,
  MappingSchema,
  ServiceSettingsSchema,
  UpdateAuthKeySchema,
} from './bodies.ts'

const Time = Type.Integer({ format: 'int64', description: 'Milliseconds since the epoch.' })
const Count = Type.Integer({ minimum: 0 })

const Endpoint = Type.Object({
  id: Type.String(),
  type: Type.String({ enum: [...ENDPOINT_TYPES] }),
  modelRef: Type.String({ description: 'The model that this endpoint uses.' }),
})

const Pool = Type.Object({
  generationId: Type.String(),
  state: Type.String({ description: 'loading, warm, active, draining, closed or failed' }),
  reason: Type.Union([Type.String(), Type.Null()]),
  threads: Count,
  threadsLost: Count,
  loadMs: Type.Union([Type.Number(), Type.Null()]),
  queued: Count,
  running: Count,
  stoppedEndpoints: Type.Array(Type.String()),
})

const certificateFields = {
  subject: Type.String(),
  issuer: Type.String(),
  notAfter: Time,
  daysLeft: Type.Integer({ description: 'Negative when it has expired.' }),
  fingerprint: Type.String({ description: 'SHA-256 of the certificate.' }),
}

/** Null where they are not counted. */
const Bytes = Type.Union([Count, Type.Null()], { description: 'Of this phase of an import.' })

const Import = Type.Object({
  generationId: Type.String({ description: 'Empty until it is known.' }),
  startedOn: Time,
  phase: Type.String({
    description:
      'receiving, waiting, unpacking, checking, loading, testing, measuring, flushing, committing',
  }),
  detail: Type.String(),
  doneBytes: Bytes,
  totalBytes: Bytes,
})

const summaryFields = {
  serviceId: Type.String(),
  enabled: Type.Boolean(),
  activeGeneration: Type.Optional(Type.String({ description: 'Absent when none is active.' })),
  generationCount: Count,
}

const Program = Type.Union([
  Type.Object({
    path: Type.String(),
    version: Type.Union([Type.String(), Type.Null()], { description: 'Null: not known yet.' }),
  }),
  Type.Null(),
])

const Mapping = Type.Object({
  entries: Type.Array(Type.Object({ generation: Type.String(), proba: Type.Number() })),
})

const Settings = Type.Object({
  queryLog: Type.String({ description: 'off, failures, all, or sample:SHARE.' }),
  cors: Type.Union([Type.Object({ origins: Type.Array(Type.String()) }), Type.Null()]),
})

const Environments = Type.Array(Type.String(), { description: 'Names of Python environments.' })

const CompiledModels = Type.Array(
  Type.Object({
    endpointId: Type.String(),
    form: Type.String({ description: 'compiled, or original: as it is in the bundle.' }),
    reason: Type.Union([Type.String(), Type.Null()], { description: 'Why it is the original.' }),
    bytes: Type.Integer({ description: 'Of the compiled form, on the disk.' }),
  }),
  { description: 'Which models have a compiled form; absent where the node makes none.' },
)

const Kept = Type.Array(
  Type.Object({
    serviceId: Type.Optional(Type.String()),
    generationId: Type.Optional(Type.String()),
    reason: Type.String(),
  }),
  { description: 'What stays, though it receives no traffic.' },
)

const generationFields = {
  generationId: Type.String(),
  generation: Type.String({ description: 'The same id.' }),
  active: Type.Boolean({ description: 'Receives traffic.' }),
  createdOn: Time,
  proba: Type.Number({ description: 'Share of the traffic of its service.' }),
  preloaded: Type.Boolean({ description: 'In memory.' }),
}

const Durations = Type.Object(
  Object.fromEntries(
    ['count', 'mean', 'p50', 'p90', 'p95', 'p99', 'p999', 'max'].map((name) => [
      name,
      Type.Number(),
    ]),
  ),
)

const seriesFields = {
  averageLatencyMs: Type.Number({ format: 'double' }),
  errorCount: Type.Integer({ format: 'int64', description: 'Answers of 500 and above, or 429.' }),
  latencyMs: Type.Object({
    sinceStart: Type.Object({ total: Durations, queue: Durations, execute: Durations }),
    lastMinute: Type.Object({ requestCount: Count, errorCount: Count, total: Durations }),
  }),
}

export const SCHEMAS = {
  CreateServiceRequest: CreateServiceSchema,
  CreateAuthKeyRequest: CreateAuthKeySchema,
  UpdateAuthKeyRequest: UpdateAuthKeySchema,
  CreateAdminKeyRequest: CreateAdminKeySchema,
  ServiceSettingsRequest: ServiceSettingsSchema,
  MappingRequest: MappingSchema,
  Done: Type.Object({ ok: Type.Boolean() }),
  ServiceSummary: Type.Object(summaryFields),
  Service: Type.Object({
    ...summaryFields,
    endpoints: Type.Array(Endpoint, { description: 'Of the active generation.' }),
    createdOn: Time,
    mapping: Mapping,
    settings: Settings,
    pools: Type.Array(Pool),
    cold: Type.Array(Type.String(), {
      description: 'Generations that receive traffic and are loaded at their next request.',
    }),
    imports: Type.Array(Import, { description: 'Under way.' }),
  }),
  GenerationSummary: Type.Object(generationFields),
  Generation: Type.Object({
    ...generationFields,
    endpoints: Type.Array(Endpoint),
    state: Type.String({
      description: 'importing, imported, cold, loading, warm, active, draining or failed',
    }),
    reason: Type.Union([Type.String(), Type.Null()], { description: 'Why it failed.' }),
    sha256: Type.Optional(Type.String({ description: 'Of the content of the bundle.' })),
    bytes: Type.Optional(Type.Integer({ description: 'On disk.' })),
    sequence: Type.Optional(Type.Integer({ description: 'Order of import.' })),
    compiled: Type.Optional(CompiledModels),
    report: Type.Optional(Type.Object({}, { description: 'What was measured at import.' })),
    pool: Type.Optional(Type.Union([Pool, Type.Null()])),
    phase: Type.Optional(Type.String({ description: 'Of an import under way.' })),
    detail: Type.Optional(Type.String()),
    doneBytes: Type.Optional(Bytes),
    totalBytes: Type.Optional(Bytes),
  }),
  AuthKey: Type.Object({
    id: Type.String(),
    key: Type.Optional(Type.String({ description: 'Only in the answer that creates it.' })),
    label: Type.String(),
    createdOn: Time,
    allowedServices: Type.Array(Type.String(), { description: 'Empty means all.' }),
    unknownServices: Type.Array(Type.String(), { description: 'Allowed, but not deployed.' }),
    lastUse: Type.Union([Time, Type.Null()]),
    quota: Type.Union([
      Type.Object({
        requestsPerSecond: Type.Union([Type.Number(), Type.Null()]),
        concurrentRequests: Type.Union([Count, Type.Null()]),
      }),
      Type.Null(),
    ]),
  }),
  AdminKey: Type.Object({
    id: Type.String(),
    key: Type.Optional(Type.String({ description: 'Only in the answer that creates it.' })),
    label: Type.String(),
    description: Type.Union([Type.String(), Type.Null()]),
    createdBy: Type.Union([Type.String(), Type.Null()], {
      description: 'As its maker has put it; no proof.',
    }),
    createdOn: Time,
    expiry: Type.Union([Time, Type.Null()], { description: 'Null: never.' }),
  }),
  ServiceSettings: Settings,
  Cleaned: Type.Object({
    ok: Type.Boolean(),
    services: Type.Array(Type.String()),
    generations: Type.Array(Type.Object({ serviceId: Type.String(), generationId: Type.String() })),
    environments: Environments,
    compiled: Type.Array(Type.String(), { description: 'Names of compiled forms of models.' }),
    kept: Kept,
  }),
  CleanedEnvironments: Type.Object({
    ok: Type.Boolean(),
    environments: Environments,
    kept: Kept,
  }),
  Metrics: Type.Object({
    totalRequests: Type.Integer({ format: 'int64' }),
    activeRequests: Count,
    ...seriesFields,
    serviceMetrics: Type.Record(
      Type.String(),
      Type.Object({
        requestCount: Type.Integer({ format: 'int64' }),
        ...seriesFields,
        queryLog: Type.Optional(
          Type.Object(
            { written: Count, dropped: Count },
            { description: 'Lines of the query log, where queries were to be logged.' },
          ),
        ),
      }),
    ),
  }),
  HealthStatus: Type.Object({
    status: Type.String({ enum: ['HEALTHY', 'DEGRADED', 'UNHEALTHY'] }),
    details: Type.Object({
      serving: Type.Object({
        running: Type.Boolean(),
        listening: Type.Boolean(),
        port: Type.Union([Count, Type.Null()], { description: 'Of the query API.' }),
        processes: Type.Array(Type.Object({ state: Type.String() })),
        replacements: Type.Record(Type.String(), Count, { description: 'By reason.' }),
        stopped: Type.Array(Type.Object({ cause: Type.String() })),
      }),
      services: Type.Record(Type.String(), Type.Object({ causes: Type.Array(Type.String()) })),
      causes: Type.Array(Type.String()),
      runtimes: Type.Optional(
        Type.Object(
          {
            python: Program,
            r: Program,
            connections: Type.Record(
              Type.String(),
              Type.Object({
                up: Type.Union([Type.Boolean(), Type.Null()], {
                  description: 'Null: no loaded generation uses it.',
                }),
              }),
            ),
          },
          { description: 'Interpreters and databases that endpoints can use.' },
        ),
      ),
      tls: Type.Optional(
        Type.Record(Type.String(), Type.Object(certificateFields), {
          description: 'Certificates in use, by listener: query and admin.',
        }),
      ),
    }),
  }),
  ReloadedCertificates: Type.Object({
    ok: Type.Boolean(),
    listeners: Type.Array(
      Type.Object({
        listener: Type.String({ description: 'query or admin' }),
        changed: Type.Boolean(),
        ...certificateFields,
      }),
    ),
  }),
  Replaced: Type.Object({
    ok: Type.Boolean(),
    replaced: Type.Integer({ minimum: 1, description: 'Processes.' }),
    ms: Type.Integer({ description: 'Until the last new one listened.' }),
  }),
  Alive: Type.Object({ alive: Type.Boolean() }),
  Error: Type.Object({
    errorType: Type.String(),
    message: Type.String(),
    detailedMessage: Type.String(),
    code: Type.String({ description: 'Stable; README.md lists all of them.' }),
    requestId: Type.String(),
    faults: Type.Optional(
      Type.Array(Type.Object({ path: Type.String(), reason: Type.String() }), {
        description: 'Every fault of a bundle or of a body.',
      }),
    ),
  }),
} as const satisfies Readonly<Record<string, TSchema>>

export type SchemaName = keyof typeof SCHEMAS
