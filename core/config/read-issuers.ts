/**
 * The key `issuers` of the config file: whose tokens services may accept.
 *
 * Keys are fetched over https only, and from public addresses only unless the file says otherwise,
 * so that a name that is taken over later leads nowhere inside the operator's own network.
 */

import { messageOf } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import {
  FieldReader,
  type FieldSources,
  NAME_OF_SETTING,
  NAME_OF_SETTING_RULE,
  WrongField,
  wrongField,
} from './field-reader.ts'
import type { IssuerSettings, Jwk } from './issuers.ts'

const TOLERANCE_S_MAX = 600
const FIELDS = [
  'issuer',
  'jwksUrl',
  'keys',
  'keysFile',
  'audiences',
  'clientIdClaim',
  'clockToleranceS',
  'allowPrivate',
]
/** Where the keys are: exactly one of them. */
const SOURCES = ['jwksUrl', 'keys', 'keysFile'] as const
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/

export function readIssuers(value: unknown, sources: FieldSources): readonly IssuerSettings[] {
  if (value === undefined) return []
  if (!isObject(value)) {
    throw new WrongField(`"issuers" in ${sources.path} must be an object, name to fields`)
  }
  return Object.entries(value).map(([name, fields]) => readOne(name, fields, sources))
}

function readOne(name: string, value: unknown, sources: FieldSources): IssuerSettings {
  const at = `"issuers.${name}`
  if (!NAME_OF_SETTING.test(name)) {
    const rule = `the name is not allowed; it has ${NAME_OF_SETTING_RULE}`
    throw wrongField(sources, `${at}"`, rule)
  }
  if (!isObject(value)) throw wrongField(sources, `${at}"`, 'must be an object')
  for (const field of Object.keys(value)) {
    if (FIELDS.includes(field)) continue
    const reason = `is no field of an issuer; allowed is ${FIELDS.join(', ')}`
    throw wrongField(sources, `${at}.${field}"`, reason)
  }
  const reader = new FieldReader(value, at, sources)
  const given = SOURCES.filter((source) => reader.has(source))
  if (given.length !== 1) {
    const reason = given.length === 0 ? 'says not where its keys are' : `has ${given.join(' and ')}`
    throw wrongField(sources, `${at}"`, `${reason}; allowed is one of ${SOURCES.join(', ')}`)
  }
  const allowPrivate = reader.flag('allowPrivate')
  return Object.freeze({
    name,
    issuer: reader.text('issuer'),
    jwksUrl: reader.has('jwksUrl') ? readUrl(reader, allowPrivate) : null,
    keys: readKeys(reader),
    audiences: reader.has('audiences') ? reader.texts('audiences') : [],
    clientIdClaim: reader.has('clientIdClaim') ? reader.text('clientIdClaim') : 'sub',
    clockToleranceS: reader.integer('clockToleranceS', 30, TOLERANCE_S_MAX, 0),
    allowPrivate,
  })
}

function readUrl(reader: FieldReader, allowPrivate: boolean): string {
  const text = reader.text('jwksUrl')
  const wrong = (reason: string) =>
    reader.wrong('jwksUrl', `${JSON.stringify(text)} is not allowed; ${reason}`)
  if (!URL.canParse(text)) throw wrong('allowed is an https URL')
  const { protocol, hostname, username, password } = new URL(text)
  if (username !== '' || password !== '') throw wrong('no secret belongs into it')
  if (protocol === 'https:') return text
  const isLocal = protocol === 'http:' && LOOPBACK.test(hostname)
  if (isLocal && allowPrivate) return text
  const but = 'http only on the loopback address, with "allowPrivate": true'
  throw wrong(`allowed is an https URL; ${but}`)
}

function readKeys(reader: FieldReader): readonly Jwk[] | null {
  if (reader.has('keys')) return checkedKeys(reader, 'keys', reader.value('keys'))
  if (!reader.has('keysFile')) return null
  const text = reader.file('keysFile')
  try {
    return checkedKeys(reader, 'keysFile', JSON.parse(text))
  } catch (error) {
    if (error instanceof WrongField) throw error
    throw reader.wrong('keysFile', `the file holds no JSON: ${messageOf(error)}`)
  }
}

/** A JWK Set, or its array of keys. */
function checkedKeys(reader: FieldReader, field: string, value: unknown): readonly Jwk[] {
  const keys: unknown = isObject(value) ? value['keys'] : value
  if (!Array.isArray(keys) || keys.length === 0) {
    throw reader.wrong(field, 'allowed is a JWK Set with at least one key')
  }
  return keys.map((key: unknown, i) => {
    if (!isObject(key)) throw reader.wrong(field, `key ${i} is no object`)
    if (key['kty'] === 'oct') {
      throw reader.wrong(field, `key ${i} is a shared secret; allowed are public keys`)
    }
    if ('d' in key) throw reader.wrong(field, `key ${i} is private; allowed are public keys`)
    return Object.freeze({ ...key })
  })
}
