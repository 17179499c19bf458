/**
 * Goal: what an earlier version stored is read, what this one stores is read again, and what is
 * neither is refused with the place. Method: a record as the first version wrote it, and one with
 * an endpoint of every type.
 */

import t from 'tap'
import { recordFault } from '../../../admin/store/shapes.ts'
import type { EndpointPlan, GenerationPlan } from '../../../core/bundle/plan.ts'

const HASH = 'a'.repeat(64)
const KEY = 'generation/demo/v1'

/** The fields of version 1 before there were tables and other types, one by one. */
const FIRST_ENDPOINT = {
  id: 'predict',
  type: 'STD_PREDICTION',
  modelRef: 'model.onnx',
  timeoutMs: 10_000,
  queue: { maxRequests: 1_024, maxBytes: 33_554_432 },
  worstBatchMs: 1.25,
  prediction: {
    kind: 'REGRESSION',
    model: 'model.onnx',
    inputs: [{ name: 'X', datatype: 'float32', shape: [null, 1], features: [0] }],
    features: [
      {
        name: 'x0',
        type: 'number',
        onMissing: 'ERROR',
        onInvalid: 'ERROR',
        onUnknown: 'ERROR',
        categories: null,
        value: null,
      },
    ],
    outputs: [{ name: 'variable', datatype: 'float32', shape: [null, 1] }],
    label: null,
    probabilities: null,
    value: 'variable',
    classes: [],
    threshold: null,
    batchable: true,
    maxRows: 64,
  },
  warmUp: ['{"features":{"x0":0}}'],
}

function record(plan: object, type = 'STD_PREDICTION'): object {
  return {
    serviceId: 'demo',
    id: 'v1',
    sha256: HASH,
    createdOn: 1_700_000_000_000,
    endpoints: [{ id: 'predict', type, modelRef: 'model.onnx' }],
    plan,
    report: { endpoints: [{ endpointId: 'predict', zipMap: 'none' }] },
    bytes: 400,
    written: [],
    sequence: 1,
  }
}

function planWith(endpoints: readonly object[], extra: object = {}): object {
  const authorization = { method: 'API_KEYS', keys: [] }
  return { planVersion: 1, authorization, threads: null, endpoints, ...extra }
}

const COMMON = {
  modelRef: 'f',
  timeoutMs: 10_000,
  queue: { maxRequests: 1, maxBytes: 1 },
  worstBatchMs: 0,
  warmUp: [],
}
const CODE = { file: 'f', name: 'f', children: null, variables: {}, get: false, prediction: null }
const PYTHON = {
  ...CODE,
  environment: null,
  rawResponse: false,
  requestMetadata: false,
  dataFolder: '',
}
const STEP = {
  table: 'people',
  key: [{ column: 'id', field: 'who' }],
  columns: [{ column: 'name', as: 'name' }],
  onMissing: 'ERROR',
  onMultiple: 'NULL',
} as const
const SQL = {
  connection: null,
  statements: [{ text: 'SELECT ?', parameters: [{ name: 'a', type: null }] }],
  maxRows: 10,
  commit: false,
  duckdb: '.switchyard/tables.duckdb',
}

const OTHERS: readonly EndpointPlan[] = [
  { ...COMMON, id: 'a', type: 'PYTHON_FUNCTION', python: PYTHON },
  {
    ...COMMON,
    id: 'b',
    type: 'CUSTOM_PREDICTION',
    python: PYTHON,
    enrich: { steps: [STEP], dump: true },
  },
  { ...COMMON, id: 'c', type: 'R_FUNCTION', r: CODE },
  { ...COMMON, id: 'd', type: 'CUSTOM_R_PREDICTION', r: CODE },
  { ...COMMON, id: 'e', type: 'SQL_QUERY', sql: SQL },
  { ...COMMON, id: 'f', type: 'DATASET_LOOKUP', lookup: { steps: [STEP] } },
]

const TABLES: GenerationPlan['tables'] = [
  {
    name: 'people',
    file: 'people.csv',
    lmdb: '.switchyard/tables/people',
    database: null,
    key: ['id'],
    columns: [{ name: 'id', type: 'integer' }],
    rows: 2,
  },
  {
    name: 'remote',
    file: null,
    lmdb: null,
    database: { connection: 'crm', from: 'public.people' },
    key: ['id'],
    columns: [],
    rows: null,
  },
]

t.test('a generation that an earlier version stored', async (t) => {
  t.equal(recordFault(KEY, record(planWith([FIRST_ENDPOINT]))), null)
  const { prediction: _, ...without } = FIRST_ENDPOINT
  const fault = recordFault(KEY, record(planWith([without])))
  t.equal(fault, `${KEY}: plan.endpoints[0].prediction is not an object`)
})

t.test('plans of every type, tables and made files', async (t) => {
  const extra = { tables: TABLES, made: ['.switchyard/tables/people/data.mdb'] }
  const plan = planWith([FIRST_ENDPOINT, ...OTHERS], extra)
  t.equal(recordFault(KEY, record(JSON.parse(JSON.stringify(plan)))), null)
  for (const [i, { id, ...other }] of OTHERS.entries()) {
    const part = ['python', 'r', 'sql', 'lookup'].find((name) => name in other) ?? ''
    const broken = recordFault(KEY, record(planWith([{ ...other, id, [part]: 7 }])))
    t.equal(broken, `${KEY}: plan.endpoints[0].${part} is not an object`, `${i}`)
  }
})

t.test('what no version writes', async (t) => {
  const told = (endpoints: readonly object[], extra: object = {}) =>
    recordFault(KEY, record(planWith(endpoints, extra)))?.slice(KEY.length + 2)
  const unknown = { ...FIRST_ENDPOINT, type: 'toString' }
  t.equal(told([unknown]), 'plan.endpoints[0].type is none that this node knows')
  t.equal(told([FIRST_ENDPOINT], { tables: [{}] }), 'plan.tables[0].name is not a text')
  t.equal(told([FIRST_ENDPOINT], { made: [1] }), 'plan.made[0] is not a text')
  t.equal(
    told([{ ...OTHERS[5], lookup: { steps: [{ ...STEP, key: 'id' }] } }]),
    'plan.endpoints[0].lookup.steps[0].key is not a list',
  )
})
