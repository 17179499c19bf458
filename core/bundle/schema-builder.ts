/**
 * Makes JSON schemas in TypeBox's words, with its types: of its constructors those that are used
 * here, and no more. TypeBox itself is 200 modules, which took control, each command and each forge
 * a fifth of their start (200 of 800 to 1,000 ms of CPU time); so it is there when we compile, and
 * the tests compare what is made here with what it makes.
 */

import type { JavaScriptTypeBuilder, TSchema } from '@sinclair/typebox'

type Used =
  | 'Array'
  | 'Boolean'
  | 'Integer'
  | 'Literal'
  | 'Null'
  | 'Number'
  | 'Object'
  | 'Optional'
  | 'Record'
  | 'String'
  | 'Union'
  | 'Unknown'

type Schema = Readonly<Record<string | symbol, unknown>>

/** A symbol, so that it is seen here and is no word of the schema. */
const IS_OPTIONAL = Symbol('optional')
const ANY_KEY = '^(.*)$'

const plain = (type: string) => (options?: Schema) => ({ ...options, type })

const builder = {
  Array: (items: TSchema, options?: Schema) => ({ ...options, type: 'array', items }),
  Boolean: plain('boolean'),
  Integer: plain('integer'),
  Literal: (value: string | number | boolean, options?: Schema) => ({
    ...options,
    const: value,
    type: typeof value,
  }),
  Null: plain('null'),
  Number: plain('number'),
  Object: (properties: Readonly<Record<string, Schema>>, options?: Schema) => {
    const required = Object.keys(properties).filter(
      (key) => properties[key]?.[IS_OPTIONAL] !== true,
    )
    return { ...options, type: 'object', ...(required.length > 0 ? { required } : {}), properties }
  },
  Optional: (schema: Schema) => ({ ...schema, [IS_OPTIONAL]: true }),
  Record: (key: { readonly pattern?: string }, value: TSchema, options?: Schema) => ({
    ...options,
    type: 'object',
    patternProperties: { [key.pattern ?? ANY_KEY]: value },
  }),
  String: plain('string'),
  Union: (anyOf: readonly TSchema[], options?: Schema) => ({ ...options, anyOf }),
  Unknown: (options?: Schema) => ({ ...options }),
}

export const Type = builder as unknown as Pick<JavaScriptTypeBuilder, Used>
