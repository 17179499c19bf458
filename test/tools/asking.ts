/**
 * Asking a prediction endpoint as a worker does: models are opened by path, bodies go in as one
 * batch, and every answer is checked to be whole before a test sees it.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ElementType, onnxModel } from '../../bench/workloads/onnx-builder.ts'
import type { Verb } from '../../core/bundle/kinds.ts'
import type {
  Datatype,
  FeaturePlan,
  OnnxEndpointPlan,
  PredictionPlan,
} from '../../core/bundle/plan.ts'
import { openPredictor, type Predictor } from '../../workers/onnx/predictor.ts'
import { identity } from './onnx-models.ts'
import { endpoint, feature, jobOf, prediction } from './plans.ts'

const folder = mkdtempSync(join(tmpdir(), 'switchyard-predictor-'))
const opened: Predictor[] = []

/** For the teardown of a test file. */
export async function releaseAll(): Promise<void> {
  for (const predictor of opened) await predictor.release()
  rmSync(folder, { recursive: true })
}

const context = { serviceId: 'svc', generationId: 'g1' }
let models = 0

export async function open(
  model: Buffer,
  plan: PredictionPlan,
  other: Partial<OnnxEndpointPlan> = {},
): Promise<Predictor> {
  models += 1
  const file = `model-${models}.onnx`
  writeFileSync(join(folder, file), model)
  const settled = endpoint({ ...plan, model: file }, other)
  const predictor = await openPredictor(folder, context, settled)
  opened.push(predictor)
  return predictor
}

export interface Result {
  readonly code?: string
  readonly detail?: string
  readonly result?: unknown
  readonly results?: unknown
}

/** Per body: the parsed answer, checked to be whole, or code and detail of its error. */
export async function ask(
  predictor: Predictor,
  bodies: readonly (string | object)[],
  verb: Verb = 'single',
): Promise<Result[]> {
  const texts = bodies.map((body) => (typeof body === 'string' ? body : JSON.stringify(body)))
  const outcome = await predictor.run(jobOf(texts, verb))
  if (outcome.kind !== 'answers') throw new Error(`outcome is ${outcome.kind}`)
  if (outcome.bodies.length !== bodies.length) throw new Error('one answer a request')
  const failures = new Map((outcome.failures ?? []).map((failure) => [failure.index, failure]))
  return outcome.bodies.map((body, index) => {
    const failure = failures.get(index)
    if ((failure === undefined) === (body === '')) throw new Error('an answer or an error')
    return failure === undefined ? whole(body) : { code: failure.code, detail: failure.detail }
  })
}

function whole(body: string | Uint8Array): Result {
  const text = Buffer.from(body).toString()
  const answer = JSON.parse(text)
  const { timing, apiContext } = answer
  const known = { serviceId: 'svc', endpointId: 'score', serviceGeneration: 'g1' }
  if (JSON.stringify(apiContext) !== JSON.stringify(known)) throw new Error(text)
  for (const name of ['wait', 'preparation', 'prediction']) {
    if (!(timing[name] >= 0)) throw new Error(text)
  }
  return answer
}

export async function one(predictor: Predictor, features: unknown): Promise<Result> {
  const [answer] = await ask(predictor, [{ features } as object])
  return answer ?? {}
}

/** What the summing model answers, or why not. */
export function sum(answer: Result | undefined): unknown {
  const result = answer?.result
  if (typeof result !== 'object' || result === null) return answer?.detail
  return Reflect.get(result, 'ignored') ? result : Reflect.get(result, 'prediction')
}

/** One input per column, of any type: answers the column of that name as the model got it. */
export async function column(datatype: Datatype, other: Partial<FeaturePlan>): Promise<Predictor> {
  const element = elementOf(datatype)
  const model = onnxModel({
    inputs: [{ name: 'v', type: element, shape: ['N', 1] }],
    outputs: [{ name: 'out', type: element, shape: ['N', 1] }],
    nodes: [{ op: 'Identity', inputs: ['v'], outputs: ['out'] }],
  })
  const text = element === 'string'
  return open(model, {
    ...prediction({ kind: text ? 'MULTICLASS' : 'REGRESSION', model: '' }),
    inputs: [{ name: 'v', datatype, shape: [null, 1], features: [0] }],
    features: [feature('v', other)],
    label: text ? 'out' : null,
    value: text ? null : 'out',
  })
}

/** Y = X of this type and shape, as a RAW endpoint. */
export async function rawOf(datatype: Datatype, shape: (number | null)[]): Promise<Predictor> {
  const names = shape.map((size, i) => size ?? `d${i}`)
  return open(identity({ type: elementOf(datatype), shape: names }), {
    ...prediction({ kind: 'RAW', model: '' }),
    inputs: [{ name: 'X', datatype, shape, features: [] }],
    outputs: [{ name: 'Y', datatype, shape }],
  })
}

function elementOf(datatype: Datatype): ElementType {
  if (datatype === 'float32') return 'float'
  return datatype === 'float64' ? 'double' : datatype
}

/** What is sent, and the answer; a RegExp stands for a refusal whose detail matches. */
export type Cases = readonly (readonly [unknown, unknown])[]

/** JSON of a value; a function gives its own text, for what JSON cannot say. */
export function jsonOf(given: unknown): string {
  return typeof given === 'function' ? given() : JSON.stringify(given)
}

/** Text as it is, for what JSON.stringify cannot write. */
export const bare = (text: string) => () => text
