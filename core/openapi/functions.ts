/** Endpoints that call a function: arguments in, whatever it returns out. */

import { isObject } from '../base/json.ts'
import type { EndpointPlan, FunctionArgument } from '../bundle/plan.ts'
import { examplesOf, queryValues } from './examples.ts'
import { type EndpointPart, type Example, type Json, type Operation, object, ref } from './json.ts'
import { envelope } from './shared-schemas.ts'

export function functionPart(plan: EndpointPlan, name: string): EndpointPart | null {
  if (!('python' in plan) && !('r' in plan)) return null
  const code = 'python' in plan ? plan.python : plan.r
  if (code.prediction !== null) return null
  const examples = examplesOf(plan)
  const given = argumentsOf(code.arguments ?? null, examples)
  const needs = given.some(({ required }) => required)
  const shared = { summary: `Call the function of ${plan.id}`, answer: ref(`${name}Answer`) }
  const posted: Operation = {
    ...shared,
    verb: 'run',
    method: 'post',
    operationId: `run${name}`,
    body: { schema: ref(`${name}Arguments`), required: needs },
    examples,
  }
  return {
    schemas: {
      [`${name}Arguments`]: argumentsSchema(given, code.arguments === undefined),
      [`${name}Answer`]: answerSchema('python' in plan && plan.python.rawResponse),
    },
    operations: code.get ? [posted, byGet({ name, given, examples, shared })] : [posted],
  }
}

/** Those of the function where they are known, else those that its examples give. */
function argumentsOf(
  known: readonly FunctionArgument[] | null,
  examples: readonly Example[],
): readonly FunctionArgument[] {
  if (known !== null) return known
  const names = examples.flatMap(({ value }) => (isObject(value) ? Object.keys(value) : []))
  return [...new Set(names)].map((name) => ({ name, required: false }))
}

/** Without types: what a function takes is for its code to say. */
function argumentsSchema(given: readonly FunctionArgument[], isOpen: boolean): Json {
  const properties = Object.fromEntries(given.map(({ name }) => [name, {}]))
  const required = given.filter((one) => one.required).map(({ name }) => name)
  const schema = object(properties, required)
  if (!isOpen) return schema
  const description = 'The arguments of the function, by name.'
  return { ...schema, additionalProperties: true, description }
}

function answerSchema(isRaw: boolean): Json {
  const response = { description: 'What the function returned.' }
  const schema = envelope({ response }, ['response'])
  if (!isRaw) return schema
  const description = 'The function may also answer with a status, headers and bytes of its own.'
  return { ...schema, description }
}

interface Getting {
  readonly name: string
  readonly given: readonly FunctionArgument[]
  readonly examples: readonly Example[]
  readonly shared: Pick<Operation, 'summary' | 'answer'>
}

/** In a query every value is a text. */
function byGet({ name, given, examples, shared }: Getting): Operation {
  const values = queryValues(examples[0]?.value)
  const parameters = given.map((one) => {
    const example = Object.hasOwn(values, one.name) ? { example: String(values[one.name]) } : {}
    return { ...one, in: 'query', schema: { type: 'string' }, ...example }
  })
  const operationId = `run${name}ByGet`
  return { ...shared, verb: 'run', method: 'get', operationId, parameters, examples: [] }
}
