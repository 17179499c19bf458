/**
 * The key `connections` of the config file: databases that bundles may refer to by name.
 *
 * A secret is never in the file itself, which ends in back-ups and repositories: it names a
 * variable of the environment or a file that holds the password.
 */

import { isIP } from 'node:net'
import { isObject } from '../base/json.ts'
import {
  FieldReader,
  type FieldSources,
  NAME_OF_SETTING,
  NAME_OF_SETTING_RULE,
  WrongField,
  wrongField,
} from './field-reader.ts'
import type { ConnectionSettings } from './runtimes.ts'

const KINDS = { postgresql: 5_432, mysql: 3_306 } as const
const POOL_SIZE_MAX = 64
const CONNECT_MS_MAX = 60_000
const FIELDS = [
  'kind',
  'host',
  'port',
  'database',
  'user',
  'passwordEnv',
  'passwordFile',
  'poolSize',
  'connectMs',
  'tls',
  'caFile',
  'services',
]

export function readConnections(
  value: unknown,
  sources: FieldSources,
): readonly ConnectionSettings[] {
  if (value === undefined) return []
  if (!isObject(value)) {
    throw new WrongField(`"connections" in ${sources.path} must be an object, name to fields`)
  }
  return Object.entries(value).map(([name, fields]) => readOne(name, fields, sources))
}

function readOne(name: string, value: unknown, sources: FieldSources): ConnectionSettings {
  const at = `"connections.${name}`
  if (!NAME_OF_SETTING.test(name))
    throw wrongField(sources, `${at}"`, `the name is not allowed; it has ${NAME_OF_SETTING_RULE}`)
  if (!isObject(value)) throw wrongField(sources, `${at}"`, 'must be an object')
  for (const field of Object.keys(value)) refuseUnknown(field, at, sources)
  const reader = new FieldReader(value, at, sources)
  const kind = reader.choice('kind', ['postgresql', 'mysql'] as const)
  const host = reader.text('host')
  const isLocal =
    host === 'localhost' || host === '::1' || (isIP(host) === 4 && /^127\./.test(host))
  const settings = {
    name,
    kind,
    host,
    port: reader.integer('port', KINDS[kind], 65_535),
    database: reader.text('database'),
    user: reader.text('user'),
    password: readPassword(reader),
    poolSize: reader.integer('poolSize', 8, POOL_SIZE_MAX),
    connectMs: reader.integer('connectMs', 2_000, CONNECT_MS_MAX),
    // A password must not cross a network in the clear because a line was forgotten.
    tls: reader.choice('tls', ['off', 'verify', 'insecure'] as const, isLocal ? 'off' : 'verify'),
    ca: reader.has('caFile') ? reader.file('caFile') : null,
    services: reader.has('services') ? reader.texts('services') : null,
  }
  return Object.freeze(settings)
}

function refuseUnknown(field: string, at: string, sources: FieldSources): void {
  if (FIELDS.includes(field)) return
  const reason =
    field === 'password'
      ? 'no place for a secret; name a variable in "passwordEnv" or a file in "passwordFile"'
      : `is no field of a connection; allowed is ${FIELDS.join(', ')}`
  throw wrongField(sources, `${at}.${field}"`, reason)
}

function readPassword(reader: FieldReader): string | null {
  if (reader.has('passwordEnv') && reader.has('passwordFile')) {
    throw reader.wrong('passwordEnv', 'is set beside "passwordFile"; allowed is one of them')
  }
  if (reader.has('passwordEnv')) return reader.variable('passwordEnv')
  // Editors end files with a line break that is no part of the password.
  return reader.has('passwordFile') ? reader.file('passwordFile').replace(/\r?\n$/, '') : null
}
