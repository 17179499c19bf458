/**
 * The plan of an endpoint that is no ONNX model, as far as the manifest says it. What is left open
 * (whether rows share a call, what a run costs) is found out by running it.
 */

import { assertNever } from '../../core/base/assert.ts'
import type { Fault } from '../../core/base/errors.ts'
import { folderName } from '../../core/bundle/check-files.ts'
import type {
  CustomPredictionEndpoint,
  CustomRPredictionEndpoint,
} from '../../core/bundle/endpoint-schemas.ts'
import type {
  CodePlan,
  CustomPredictionPlan,
  EndpointPlan,
  EnrichPlan,
  OnnxEndpointPlan,
  SqlPlan,
} from '../../core/bundle/plan.ts'
import { lookupSteps } from '../lookup/lookup-plan.ts'
import { usableConnection } from '../sql/connections.ts'
import type { Dialect } from '../sql/scan.ts'
import { planStatements } from '../sql/statements.ts'
import { depthPlan } from './depth.ts'
import { featurePlan } from './inputs.ts'
import { rowsMaxOf } from './signature.ts'
import { commonPlan, type EndpointTask, type Of } from './task.ts'

export type RuntimePlan = Exclude<EndpointPlan, OnnxEndpointPlan>
/** Endpoints whose plan this is. */
export type RuntimeEndpoint = Exclude<EndpointTask['endpoint'], { type: 'STD_PREDICTION' }>

export type Planned =
  | { readonly kind: 'plan'; readonly plan: RuntimePlan }
  | { readonly kind: 'faults'; readonly faults: readonly Fault[] }

/** Throws ERR_CONNECTION_UNUSABLE, before anything is said of statements in an unknown dialect. */
export function planEndpoint(task: EndpointTask<RuntimeEndpoint>): Planned {
  const { endpoint } = task
  switch (endpoint.type) {
    case 'PYTHON_FUNCTION':
      return pythonFunction({ ...task, endpoint })
    case 'CUSTOM_PREDICTION':
      return customPrediction({ ...task, endpoint })
    case 'R_FUNCTION': {
      const r = codePlan(endpoint, endpoint.function, null)
      return planned({ ...commonPlan(endpoint, endpoint.file), type: 'R_FUNCTION', r })
    }
    case 'CUSTOM_R_PREDICTION':
      return rPrediction({ ...task, endpoint })
    case 'SQL_QUERY':
      return sqlQuery({ ...task, endpoint })
    case 'DATASET_LOOKUP':
      return datasetLookup({ ...task, endpoint })
    default:
      return assertNever(endpoint)
  }
}

function planned(plan: RuntimePlan): Planned {
  return { kind: 'plan', plan }
}

function pythonFunction({ endpoint, prepared }: EndpointTask<Of<'PYTHON_FUNCTION'>>): Planned {
  const python = {
    ...codePlan(endpoint, endpoint.function, null),
    environment: prepared.environment,
    rawResponse: endpoint.rawResponse ?? false,
    requestMetadata: endpoint.requestMetadata ?? false,
    dataFolder: '',
  }
  return planned({ ...commonPlan(endpoint, endpoint.file), type: 'PYTHON_FUNCTION', python })
}

function customPrediction(task: EndpointTask<Of<'CUSTOM_PREDICTION'>>): Planned {
  const { endpoint, prepared } = task
  const enriched = enrichPlan(task)
  if (enriched.kind === 'faults') return enriched
  const python = {
    // No name stands for the only class of the file.
    ...codePlan(endpoint, endpoint.class ?? '', predictionPlan(endpoint)),
    environment: prepared.environment,
    rawResponse: false,
    requestMetadata: endpoint.requestMetadata ?? false,
    dataFolder: folderName(endpoint.dataFolder ?? ''),
  }
  const common = { ...commonPlan(endpoint, endpoint.file), ...enriched.part }
  return planned({ ...common, type: 'CUSTOM_PREDICTION', python })
}

function rPrediction(task: EndpointTask<Of<'CUSTOM_R_PREDICTION'>>): Planned {
  const { endpoint } = task
  const enriched = enrichPlan(task)
  if (enriched.kind === 'faults') return enriched
  const r = codePlan(endpoint, endpoint.function, predictionPlan(endpoint))
  const common = { ...commonPlan(endpoint, endpoint.file), ...enriched.part }
  return planned({ ...common, type: 'CUSTOM_R_PREDICTION', r })
}

interface Code {
  readonly file: string
  readonly children?: number | undefined
  readonly variables?: Readonly<Record<string, string>> | undefined
  readonly get?: boolean | undefined
}

function codePlan(
  { file, children, variables, get }: Code,
  name: string,
  prediction: CustomPredictionPlan | null,
): CodePlan {
  return {
    file,
    name,
    children: children ?? null,
    variables: variables ?? {},
    get: get ?? false,
    prediction,
  }
}

/** As if rows might share a call: whether they may is proven with the code at work. */
function predictionPlan(
  endpoint: CustomPredictionEndpoint | CustomRPredictionEndpoint,
): CustomPredictionPlan {
  const features = endpoint.features?.map((one) => featurePlan(one, one.type ?? 'string')) ?? null
  return {
    kind: endpoint.prediction,
    classes: (endpoint.classes ?? []).map(String),
    threshold: endpoint.threshold ?? null,
    ...depthPlan(endpoint),
    input: 'input' in endpoint ? (endpoint.input ?? 'pandas') : 'pandas',
    features,
    batchable: true,
    maxRows: rowsMaxOf(endpoint, features?.length ?? 1),
  }
}

type Enriched =
  | { readonly kind: 'part'; readonly part: { readonly enrich?: EnrichPlan } }
  | Extract<Planned, { kind: 'faults' }>

/** The look-ups before a prediction, of whatever type it is. */
export function enrichPlan({
  endpoint,
  path,
  prepared,
}: EndpointTask<Of<'STD_PREDICTION' | 'CUSTOM_PREDICTION' | 'CUSTOM_R_PREDICTION'>>): Enriched {
  const { enrich } = endpoint
  if (enrich === undefined) return { kind: 'part', part: {} }
  const where = `${path}.enrich.lookups`
  const steps = lookupSteps(enrich.lookups, prepared.tables, where)
  if (steps.kind === 'faults') return steps
  return { kind: 'part', part: { enrich: { steps: steps.steps, dump: enrich.dump ?? false } } }
}

function datasetLookup(task: EndpointTask<Of<'DATASET_LOOKUP'>>): Planned {
  const { endpoint, path, prepared } = task
  const found = lookupSteps(endpoint.lookups, prepared.tables, `${path}.lookups`)
  if (found.kind === 'faults') return found
  const [first] = found.steps
  const common = commonPlan(endpoint, first?.table ?? '')
  return planned({ ...common, type: 'DATASET_LOOKUP', lookup: { steps: found.steps } })
}

const ROWS_MAX = 10_000

function sqlQuery({ endpoint, path, prepared, context }: EndpointTask<Of<'SQL_QUERY'>>): Planned {
  const connection = endpoint.connection ?? null
  const { settings, serviceId } = context
  const dialect: Dialect =
    connection === null
      ? 'duckdb'
      : usableConnection(settings.connections, connection, serviceId).kind
  const split = planStatements(endpoint.query, endpoint.parameters ?? [], dialect)
  if (split.kind === 'faults') {
    const faults = split.faults.map(({ path: key, reason }) => ({ path: `${path}.${key}`, reason }))
    return { kind: 'faults', faults }
  }
  const sql: SqlPlan = {
    connection,
    statements: split.statements,
    maxRows: endpoint.maxRows ?? ROWS_MAX,
    commit: endpoint.commit ?? false,
    duckdb: connection === null ? prepared.duckdb : null,
  }
  return planned({ ...commonPlan(endpoint, connection ?? 'tables'), type: 'SQL_QUERY', sql })
}
