/** Endpoints that predict: one row, many rows, and one row in the query of a GET. */

import { isObject } from '../base/json.ts'
import type { DepthPlan } from '../bundle/depth-plan.ts'
import type {
  EndpointPlan,
  FeaturePlan,
  PredictionKind,
  TablePlan,
  TensorSpec,
} from '../bundle/plan.ts'
import { examplesOf, multiExample, queryValues } from './examples.ts'
import {
  featureParameters,
  featuresObject,
  type Sent,
  sentFeatures,
  tensorAnswer,
  tensorsObject,
} from './features.ts'
import { type EndpointPart, type Json, nullable, type Operation, object, ref } from './json.ts'
import { areDistinct } from './names.ts'
import { envelope, IGNORED } from './shared-schemas.ts'

const CLASSES_MAX = 200

/** What models and code that predict have in common. */
interface Predicting extends DepthPlan {
  readonly kind: PredictionKind
  readonly features: readonly FeaturePlan[] | null
  readonly classes: readonly string[]
  readonly hasProbas: boolean
  /** Of models that take whole tensors. */
  readonly tensors: { readonly inputs: readonly TensorSpec[]; readonly outputs: TensorSpecs } | null
  readonly isCustom: boolean
}

type TensorSpecs = readonly TensorSpec[]

export interface PredictionTask {
  readonly plan: EndpointPlan
  readonly tables: readonly TablePlan[]
  readonly name: string
}

/** Null: the endpoint is a function. */
function predictingOf(plan: EndpointPlan): Predicting | null {
  if (plan.type === 'STD_PREDICTION') {
    const { prediction } = plan
    const { kind, inputs, outputs, probabilities } = prediction
    const tensors = kind === 'RAW' ? { inputs, outputs } : null
    return { ...prediction, hasProbas: probabilities !== null, tensors, isCustom: false }
  }
  const custom = codeOf(plan)
  return custom === null ? null : { ...custom, hasProbas: true, tensors: null, isCustom: true }
}

function codeOf(plan: EndpointPlan) {
  if ('python' in plan) return plan.python.prediction
  return 'r' in plan ? plan.r.prediction : null
}

export function predictionPart(task: PredictionTask): EndpointPart | null {
  const { plan, tables, name } = task
  const predicting = predictingOf(plan)
  if (predicting === null) return null
  const steps = plan.enrich?.steps ?? []
  const sent = sentFeatures({ features: predicting.features, steps, tables })
  const schemas: Record<string, Json> = {
    [`${name}Features`]: rowSchema(predicting, sent),
    [`${name}Result`]: resultSchema(plan, predicting),
    [`${name}Request`]: requestSchema(plan, name),
    [`${name}Answer`]: envelope({ result: ref(`${name}Result`) }, ['result']),
    [`${name}Item`]: itemSchema(name),
    [`${name}MultiRequest`]: multiSchema(plan, name),
    [`${name}MultiAnswer`]: envelope({ results: { type: 'array', items: ref(`${name}Result`) } }, [
      'results',
    ]),
  }
  const parameters = predicting.tensors === null ? simpleParameters(plan, sent) : []
  const isSimple = predicting.tensors === null && predicting.features !== null
  const simple = isSimple ? [simpleOperation(task, parameters)] : []
  return { schemas, operations: [...bodyOperations(task), ...simple] }
}

function rowSchema({ tensors, features }: Predicting, sent: readonly Sent[]): Json {
  return tensors === null ? featuresObject(sent, features === null) : tensorsObject(tensors.inputs)
}

function itemSchema(name: string): Json {
  return object({ features: ref(`${name}Features`), context: ref('Context') }, ['features'])
}

/** What a request may say beside its rows. */
function optionSchemas({ explanations }: EndpointPlan): Record<string, Json> {
  const explained: Record<string, Json> =
    explanations === undefined ? {} : { explanations: ref('ExplanationOptions') }
  return { ...explained, dispatch: ref('Dispatch') }
}

function requestSchema(plan: EndpointPlan, name: string): Json {
  const rest = { ...optionSchemas(plan), context: ref('Context') }
  return object({ features: ref(`${name}Features`), ...rest }, ['features'])
}

function multiSchema(plan: EndpointPlan, name: string): Json {
  const items = { type: 'array', items: ref(`${name}Item`) }
  return object({ items, ...optionSchemas(plan) }, ['items'])
}

function resultSchema(plan: EndpointPlan, predicting: Predicting): Json {
  const dump = plan.enrich?.dump === true
  const properties = {
    ...answerSchemas(predicting),
    ...(plan.explanations === undefined ? {} : { explanations: INFLUENCES }),
    ...(predicting.overrides === undefined ? {} : { override: ref('Override') }),
    ...(predicting.isCustom ? { customKeys: ANY_OBJECT } : {}),
    ...(dump ? { postEnrich: { ...ANY_OBJECT, description: 'Features after look-ups.' } } : {}),
    ...IGNORED,
    ignoreDetail: { type: 'string' },
    error: ref('RowError'),
  }
  return object(properties, ['ignored'])
}

const ANY_OBJECT: Json = { type: 'object', additionalProperties: true }

const INFLUENCES: Json = {
  type: 'object',
  description: 'Influence of features on the prediction, the largest first.',
  additionalProperties: { type: 'number' },
}

const NUMBER: Json = nullable({ type: 'number' })

function answerSchemas(predicting: Predicting): Record<string, Json> {
  const { kind, classes, hasProbas, percentiles, isCustom, tensors } = predicting
  if (tensors !== null) return { outputs: tensorAnswer(tensors.outputs) }
  if (kind === 'REGRESSION') return { prediction: NUMBER }
  const isListed = classes.length > 0 && classes.length <= CLASSES_MAX && areDistinct(classes)
  const ranked = percentiles !== undefined || (isCustom && kind === 'BINARY_CLASSIFICATION')
  return {
    prediction: { type: 'string', ...(isListed ? { enum: classes } : {}) },
    ...(hasProbas ? { probas: probasSchema(classes) } : {}),
    ...(ranked ? { probaPercentile: { type: 'number', minimum: 0, maximum: 100 } } : {}),
  }
}

function probasSchema(classes: readonly string[]): Json {
  const description = 'Probability of each class.'
  if (classes.length === 0 || classes.length > CLASSES_MAX) {
    return { type: 'object', description, additionalProperties: NUMBER }
  }
  return { ...object(Object.fromEntries(classes.map((name) => [name, NUMBER]))), description }
}

function bodyOperations({ plan, name }: PredictionTask): Operation[] {
  const examples = examplesOf(plan)
  return [
    {
      verb: 'predict',
      method: 'post',
      operationId: `predict${name}`,
      summary: `Predict one row by ${plan.id}`,
      description:
        'A row that cannot be predicted is answered with 200 too, as `"ignored": true`, where ' +
        'the endpoint is configured so.',
      body: { schema: ref(`${name}Request`), required: true },
      answer: ref(`${name}Answer`),
      examples,
    },
    {
      verb: 'predict-multi',
      method: 'post',
      operationId: `predict${name}Multi`,
      summary: `Predict many rows by ${plan.id}`,
      description: 'One result for each item, in order; a row that fails says so in its place.',
      body: { schema: ref(`${name}MultiRequest`), required: true },
      answer: ref(`${name}MultiAnswer`),
      examples: multiExample(examples, 'features'),
    },
  ]
}

function simpleParameters(plan: EndpointPlan, sent: readonly Sent[]): readonly Json[] {
  const [first] = examplesOf(plan)
  const features = isObject(first?.value) ? first.value['features'] : undefined
  return featureParameters(sent, queryValues(features))
}

function simpleOperation({ plan, name }: PredictionTask, parameters: readonly Json[]): Operation {
  return {
    verb: 'predict-simple',
    method: 'get',
    operationId: `predict${name}Simple`,
    summary: `Predict one row by ${plan.id}, from a browser's address bar`,
    parameters,
    answer: ref(`${name}Answer`),
    examples: [],
  }
}
