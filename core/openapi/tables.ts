/** Endpoints that ask tables: SQL statements with parameters, and look-ups by key. */

import type { LookupEndpointPlan, SqlEndpointPlan, TablePlan } from '../bundle/plan.ts'
import { examplesOf, multiExample } from './examples.ts'
import { columnOf, columnSchema } from './features.ts'
import { type EndpointPart, type Json, nullable, object, ref } from './json.ts'
import { envelope, IGNORED } from './shared-schemas.ts'

const ANY_SCALAR: Json = { type: ['string', 'number', 'boolean', 'null'] }

export function queryPart(plan: SqlEndpointPlan, name: string): EndpointPart {
  const all = plan.sql.statements.flatMap(({ parameters }) => parameters)
  const properties = Object.fromEntries(
    all.map((one) => [one.name, one.type === null ? ANY_SCALAR : nullable(columnSchema(one.type))]),
  )
  const names = Object.keys(properties)
  const cell = nullable({ type: 'string' })
  const column = object({ name: { type: 'string' }, type: { type: 'string' } }, ['name', 'type'])
  const found = {
    columns: { type: 'array', items: column },
    rows: { type: 'array', items: { type: 'array', items: cell }, description: ROWS },
    updatedRows: { type: 'integer', description: 'Of statements that give no rows.' },
  }
  return {
    schemas: {
      [`${name}Parameters`]: { ...object(properties, names), additionalProperties: false },
      [`${name}Answer`]: envelope(found, []),
    },
    operations: [
      {
        verb: 'query',
        method: 'post',
        operationId: `query${name}`,
        summary: `Run the query of ${plan.id}`,
        body: { schema: ref(`${name}Parameters`), required: names.length > 0 },
        answer: ref(`${name}Answer`),
        examples: examplesOf(plan),
      },
    ],
  }
}

const ROWS = 'Each a list of texts, in the order of the columns; null where the database has none.'

export function lookupPart(
  plan: LookupEndpointPlan,
  tables: readonly TablePlan[],
  name: string,
): EndpointPart {
  const { steps } = plan.lookup
  const fields = steps.flatMap(({ table, key }) =>
    key.map(({ column, field }) => [field, columnOf(tables, table, column)] as const),
  )
  const columns = steps.flatMap(({ table, columns: taken }) =>
    taken.map(({ column, as }) => [as, nullable(columnOf(tables, table, column))] as const),
  )
  const data = Object.fromEntries(fields)
  const examples = examplesOf(plan)
  return {
    schemas: {
      [`${name}Fields`]: object(data, Object.keys(data)),
      [`${name}Record`]: object({ data: ref(`${name}Fields`), context: ref('Context') }, ['data']),
      [`${name}Records`]: object({ items: { type: 'array', items: ref(`${name}Record`) } }, [
        'items',
      ]),
      [`${name}Columns`]: object(Object.fromEntries(columns)),
      [`${name}Found`]: object(
        { data: ref(`${name}Columns`), ...IGNORED, error: ref('RowError') },
        ['data'],
      ),
      [`${name}Answer`]: envelope({ results: { type: 'array', items: ref(`${name}Found`) } }, [
        'results',
      ]),
    },
    operations: [
      {
        verb: 'lookup',
        method: 'post',
        operationId: `lookup${name}`,
        summary: `Look up one record by ${plan.id}`,
        description: '`results` has one entry.',
        body: { schema: ref(`${name}Record`), required: true },
        answer: ref(`${name}Answer`),
        examples,
      },
      {
        verb: 'lookup-multi',
        method: 'post',
        operationId: `lookup${name}Multi`,
        summary: `Look up many records by ${plan.id}`,
        body: { schema: ref(`${name}Records`), required: true },
        answer: ref(`${name}Answer`),
        examples: multiExample(examples, 'data'),
      },
    ],
  }
}
