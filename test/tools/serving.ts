/** An engine with real pools, driven by small desired states and asked through its own routing. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AppError } from '../../core/base/errors.ts'
import { SILENT } from '../../core/base/logger.ts'
import type { AuthorizationPlan, EndpointPlan, GenerationPlan } from '../../core/bundle/plan.ts'
import type {
  CorsPolicy,
  DesiredGeneration,
  DesiredKey,
  StoppedEndpoint,
} from '../../core/channel/messages.ts'
import { StateKnown, StateSent } from '../../core/channel/wire-state.ts'
import { Pending } from '../../core/dispatch/pending.ts'
import { Engine, type EngineOptions } from '../../core/engine/engine.ts'
import { QUERY_BASE, targetOf, whyUnroutable } from '../../core/engine/routing.ts'
import { Recorder } from '../../core/metrics/recorder.ts'
import { countingLoop, regressor } from './onnx-models.ts'
import { endpoint, generationPlan, prediction, summing } from './plans.ts'
import { NO_RUNTIMES } from './runtimes.ts'

export interface Reply {
  /** Which generation has answered; '' for an error. */
  readonly generation: string
  readonly prediction: unknown
  readonly code: string
}

/** Of any type of endpoint. */
export interface Answer {
  readonly result?: { readonly prediction?: unknown }
  readonly response?: unknown
  readonly apiContext?: { readonly serviceGeneration: string }
}

interface Wish {
  readonly hold: readonly DesiredGeneration[]
  readonly map: string | null
  readonly enabled?: boolean
  readonly cors?: CorsPolicy
  readonly keys?: readonly DesiredKey[]
  readonly stopped?: readonly StoppedEndpoint[]
}

interface ModelWish {
  readonly factor?: number
  /** Runs as long as it is asked to instead of adding up. */
  readonly slow?: boolean
  readonly threads?: number
  readonly timeoutMs?: number
  readonly warmUp?: string
  /** What the file holds instead of a model. */
  readonly bytes?: Buffer
  /** Only the first bytes of the model. */
  readonly truncate?: number
  /** The plan names this file instead. */
  readonly file?: string
  /** A second endpoint with this file. */
  readonly secondFile?: string
  /** Digests of keys that travel in the bundle; without them the service is public. */
  readonly keys?: readonly string[]
  readonly queue?: EndpointPlan['queue']
}

/** Turns of the loop model in a millisecond; measured once, coarse. */
const TURNS_PER_MS = 1_000

export function serving(
  t: { teardown(callback: () => void | Promise<void>): void },
  options: Partial<EngineOptions> = {},
) {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-engine-'))
  let changes = 0
  const recorder = new Recorder()
  const engine = new Engine({
    recorder,
    logger: SILENT,
    defaultThreads: 1,
    threadsMax: 2,
    permits: 1,
    hangMs: 60_000,
    runtimes: NO_RUNTIMES,
    witness: null,
    mayVisit: () => null,
    onChange: () => {
      changes += 1
    },
    ...options,
  })
  t.teardown(async () => {
    await engine.close()
    rmSync(folder, { recursive: true, force: true })
  })
  let revision = 0
  // As it would be over the channel.
  const [sent, known] = [new StateSent(), new StateKnown()]
  const apply = (wish: Wish): Promise<void> => {
    const { hold, map, enabled = true, cors, keys = [], stopped = [] } = wish
    revision += 1
    const mapping = map === null ? [] : [{ generationId: map, proba: 1 }]
    const services = [{ serviceId: 'svc', enabled, mapping, ...(cors && { cors }) }]
    const state = sent.shorten({ revision, services, generations: hold, keys })
    return engine.apply(known.restore(structuredClone(state)), stopped)
  }
  return {
    engine,
    recorder,
    folder,
    apply,
    changes: () => changes,
    generation: (id: string, wish: ModelWish) => newGeneration(folder, id, wish),
    ask: (x: number) => ask(engine, `{"features":{"x0":${x}}}`),
    send: (body: string, verb: 'predict' | 'predict-multi') => ask(engine, body, `score/${verb}`),
    /** The answer of any endpoint as it comes, or the code of its error. */
    call: (path: string, body: object) => call(engine, path, JSON.stringify(body)),
    slow: (ms: number) => ask(engine, `{"features":{"turns":[${ms * TURNS_PER_MS}]}}`),
    states: () =>
      Object.fromEntries(engine.observe().map((seen) => [seen.generationId, seen.state])),
    reasonOf: (id: string) =>
      engine.observe().find(({ generationId }) => generationId === id)?.reason ?? null,
  }
}

let directories = 0

/** A generation on disk, in a folder of its own under `folder`. */
export function newGeneration(
  folder: string,
  generationId: string,
  wish: ModelWish,
): DesiredGeneration & { readonly plan: GenerationPlan } {
  directories += 1
  const directory = join(folder, `${directories}`)
  mkdirSync(directory)
  const model = wish.slow === true ? countingLoop() : regressor(1, wish.factor)
  writeFileSync(join(directory, 'm.onnx'), (wish.bytes ?? model).subarray(0, wish.truncate))
  const file = wish.file ?? 'm.onnx'
  const warm = wish.slow === true ? '{"features":{"turns":[1]}}' : '{"features":{"x0":1}}'
  const scoring = wish.slow === true ? slowly(file) : summing(file, 1)
  const warmUp = [wish.warmUp ?? warm]
  const { timeoutMs = 10_000, queue = { maxRequests: 1_024, maxBytes: 32_000_000 } } = wish
  const endpoints = [endpoint(scoring, { warmUp, timeoutMs, queue })]
  if (wish.secondFile !== undefined) {
    endpoints.push(endpoint(summing(wish.secondFile, 1), { id: 'other' }))
  }
  const threads = wish.threads ?? null
  const plan = generationPlan(endpoints, { threads, authorization: authorizationOf(wish.keys) })
  return { serviceId: 'svc', generationId, directory, plan }
}

function authorizationOf(digests: readonly string[] | undefined): AuthorizationPlan {
  if (digests === undefined) return { method: 'PUBLIC', keys: [] }
  return { method: 'API_KEYS', keys: digests.map((sha256, i) => ({ id: `key-${i}`, sha256 })) }
}

function slowly(model: string) {
  return prediction({
    kind: 'RAW',
    model,
    batchable: false,
    maxRows: 1,
    inputs: [{ name: 'turns', datatype: 'int64', shape: [1], features: [] }],
    outputs: [{ name: 'Y', datatype: 'float32', shape: [1, 4] }],
  })
}

/** Of a service by its name. */
export function askService(engine: Engine, serviceId: string, x: number): Promise<Reply> {
  return ask(engine, `{"features":{"x0":${x}}}`, 'score/predict', serviceId)
}

async function ask(
  engine: Engine,
  body: string,
  path = 'score/predict',
  serviceId = 'svc',
): Promise<Reply> {
  const answer = await call(engine, path, body, serviceId)
  return typeof answer === 'string'
    ? { generation: '', prediction: null, code: answer }
    : replyOf(answer)
}

/** As the query handler does it: route, lease, lane, wake. A text is the code of an error. */
function call(
  engine: Engine,
  path: string,
  body: string,
  serviceId = 'svc',
): Promise<Answer | string> {
  return new Promise((resolve) => {
    const fail = ({ code }: AppError) => resolve(code)
    const route = engine.routing.routeOf(`${QUERY_BASE}/${serviceId}/${path}`, serviceId)
    const target = route === undefined ? null : targetOf(route.targets, Math.random)
    if (target === null) {
      const endpointId = path.split('/')[0] ?? ''
      fail(whyUnroutable(engine.routing, engine.find, { serviceId, endpointId }))
      return
    }
    target.generation.takeLease()
    const replyJson = (json: string | Uint8Array) => resolve(JSON.parse(String(Buffer.from(json))))
    const replyRaw = () => resolve({})
    const caller = { done: false, replyJson, replyRaw, replyError: fail }
    const entered = target.lane.enter(caller, Uint8Array.from(Buffer.from(body)))
    if (entered instanceof Pending) engine.scheduler.wake(target.lane)
    else {
      target.generation.endLease()
      fail(entered)
    }
  })
}

function replyOf({ result, apiContext }: Answer): Reply {
  const generation = apiContext?.serviceGeneration ?? ''
  return { generation, prediction: result?.prediction, code: '' }
}
