/**
 * Goal: our schemas are those that TypeBox makes. Method: the same words are said to both, for
 * every constructor with and without options, and what they made is compared as JSON.
 */

import { type Static, Type as TypeBox } from '@sinclair/typebox'
import t from 'tap'
import { Type } from '../../../core/bundle/schema-builder.ts'

const about = { description: 'for people', default: 1 }

function schemas(type: typeof Type) {
  const name = type.String({ pattern: '^[a-z]+$', maxLength: 3 })
  const kind = type.Union([type.Literal('a'), type.Literal(1), type.Literal(true)], about)
  return {
    plain: [type.Boolean(), type.Integer(), type.Null(), type.Number(), type.String()],
    told: [type.Boolean(about), type.Integer(about), type.Null(about), type.Number(about)],
    any: [type.Unknown(), type.Unknown(about), type.Literal('x', about)],
    union: [kind, type.Union([...kind.anyOf, type.Null()])],
    array: [type.Array(name), type.Array(kind, { minItems: 2, ...about })],
    record: [type.Record(type.String(), kind), type.Record(name, type.Unknown(), about)],
    object: [
      type.Object({}),
      type.Object({ a: type.Optional(name) }),
      type.Object({ a: name, b: type.Optional(kind) }, { additionalProperties: false, ...about }),
      type.Object({ again: type.Object({ a: type.Optional(type.Optional(type.Array(name))) }) }),
    ],
    spread: [
      type.Object({ a: { ...type.Optional(name), description: 'still optional' } }),
      { ...name, title: 'a name' },
    ],
  }
}

t.test('the same schemas', async (t) => {
  const ours: Record<string, unknown> = schemas(Type)
  const theirs: Record<string, unknown> = schemas(TypeBox as typeof Type)
  for (const [name, schema] of Object.entries(theirs)) {
    t.equal(JSON.stringify(ours[name], sorted), JSON.stringify(schema, sorted), name)
  }
})

t.test('and the same types', async (t) => {
  const schema = Type.Object({ a: Type.String(), b: Type.Optional(Type.Array(Type.Integer())) })
  const value: Static<typeof schema> = { a: 'x', b: [1] }
  t.same(value.b, [1])
  // @ts-expect-error: it must have an `a`
  const other: Static<typeof schema> = {}
  t.notOk(other.a)
})

/** Words of a schema have no order. */
function sorted(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
