/** How PostgreSQL's texts become those of an answer, and what its types are called. */

import type { Field } from './postgres-query.ts'

const BOOLEAN = 16
const TIMESTAMP = 1114
const TIMESTAMP_WITH_ZONE = 1184

/** Identifiers of types that come with every server, which never change. */
const NAMES: Readonly<Record<number, string>> = {
  [BOOLEAN]: 'boolean',
  17: 'bytea',
  18: '"char"',
  19: 'name',
  20: 'bigint',
  21: 'smallint',
  23: 'integer',
  25: 'text',
  26: 'oid',
  114: 'json',
  142: 'xml',
  700: 'real',
  701: 'double precision',
  790: 'money',
  869: 'inet',
  1007: 'integer[]',
  1009: 'text[]',
  1016: 'bigint[]',
  1042: 'character',
  1043: 'character varying',
  1082: 'date',
  1083: 'time without time zone',
  [TIMESTAMP]: 'timestamp without time zone',
  [TIMESTAMP_WITH_ZONE]: 'timestamp with time zone',
  1186: 'interval',
  1266: 'time with time zone',
  1700: 'numeric',
  2950: 'uuid',
  3802: 'jsonb',
}

export function typeName(id: number): string | null {
  return NAMES[id] ?? null
}

type Texts = readonly (string | null)[]

export function readTexts(row: Texts, fields: readonly Field[]): Texts {
  return row.map((text, at) => (text === null ? null : readText(text, fields[at]?.dataTypeID)))
}

function readText(text: string, id: number | undefined): string {
  switch (id) {
    case BOOLEAN:
      return text === 't' ? 'true' : 'false'
    case TIMESTAMP:
      return text.replace(' ', 'T')
    case TIMESTAMP_WITH_ZONE:
      // Sessions are in UTC; `infinity` and years before our era stay as they are.
      return text.replace(' ', 'T').replace(/\+00$/, 'Z')
    default:
      return text
  }
}
