/** R endpoints of the real runtime over a folder with the code of a test. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Test } from 'tap'
import type { CodePlan, CustomPredictionPlan, REndpointPlan } from '../../core/bundle/plan.ts'
import type { RuntimeStatus } from '../../core/children/spec.ts'
import type { RuntimeSettings } from '../../core/config/runtimes.ts'
import { localHost } from '../../workers/children/local-host.ts'
import type { BatchJob, RequestFacts } from '../../workers/protocol.ts'
import { openR } from '../../workers/r/runtime.ts'
import type { Runtime, RuntimeLog } from '../../workers/runtime.ts'
import { runtimes } from './runtimes.ts'

/** What one request was answered: the whole body, or code and detail. */
export type Asked = Readonly<Record<string, unknown>>

export interface REndpoint {
  readonly runtime: Runtime
  readonly logged: readonly string[]
  readonly statuses: readonly RuntimeStatus[]
  /** One request with this body. */
  ask(body: unknown, facts?: RequestFacts): Promise<Asked>
  askAll(bodies: readonly string[], other?: Partial<BatchJob>): Promise<Asked[]>
}

export interface REndpointOptions {
  /** By path; `score.R` is the file of the endpoint. */
  readonly files: Readonly<Record<string, string>>
  readonly name?: string
  readonly timeoutMs?: number
  readonly warmUp?: readonly string[]
  readonly prediction?: CustomPredictionPlan
  readonly code?: Partial<CodePlan>
  readonly settings?: Partial<RuntimeSettings>
  /** Processes that wait to take the place of a lost one; default: none. */
  readonly spares?: number
  /** Adds to the folder what is no text. */
  readonly before?: (directory: string) => void
}

export function customPrediction(given: Partial<CustomPredictionPlan>): CustomPredictionPlan {
  return {
    kind: 'REGRESSION',
    classes: [],
    threshold: null,
    input: 'records',
    features: null,
    batchable: true,
    maxRows: 8,
    ...given,
  }
}

function planOf(options: REndpointOptions): REndpointPlan {
  const { prediction = null, timeoutMs = 10_000, name = 'score' } = options
  return {
    id: 'score',
    type: prediction === null ? 'R_FUNCTION' : 'CUSTOM_R_PREDICTION',
    modelRef: 'score.R',
    timeoutMs,
    queue: { maxRequests: 100, maxBytes: 1_000_000 },
    worstBatchMs: 1,
    warmUp: options.warmUp ?? [],
    r: {
      file: 'score.R',
      name,
      children: 1,
      variables: {},
      get: true,
      prediction,
      ...options.code,
    },
  }
}

export async function rEndpoint(t: Test, options: REndpointOptions): Promise<REndpoint> {
  const settings = runtimes(t, options.settings ?? {})
  const directory = join(settings.runDirectory, '../bundle')
  for (const [path, text] of Object.entries(options.files)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true })
    writeFileSync(join(directory, path), text)
  }
  options.before?.(directory)
  const logged: string[] = []
  const statuses: RuntimeStatus[] = []
  const log: RuntimeLog = (_level, _fields, text) => void logged.push(text)
  const children = await localHost(settings, log)
  t.teardown(() => children.close())
  const runtime = await openR(planOf(options), {
    serviceId: 's',
    generationId: 'g1',
    directory,
    tables: [],
    settings,
    children,
    spares: options.spares ?? 0,
    report: (status) => void statuses.push(status),
    log,
  })
  t.teardown(() => runtime.release())
  const askAll: REndpoint['askAll'] = (bodies, other = {}) => ask(runtime, bodies, other)
  return {
    runtime,
    logged,
    statuses,
    askAll,
    ask: async (body, facts) => {
      const text = body === undefined ? '' : JSON.stringify(body)
      const [answer = {}] = await askAll([text], facts === undefined ? {} : { requests: [facts] })
      return answer
    },
  }
}

async function ask(
  runtime: Runtime,
  bodies: readonly string[],
  other: Partial<BatchJob>,
): Promise<Asked[]> {
  const buffers = bodies.map((body) => Buffer.from(body))
  let end = 0
  const ends = Uint32Array.from(buffers, ({ length }) => {
    end += length
    return end
  })
  const bytes = new Uint8Array(Buffer.concat(buffers))
  const waitUs = new Uint32Array(bodies.length)
  const outcome = await runtime.run({ endpoint: 0, verb: 'single', bytes, ends, waitUs, ...other })
  if (outcome.kind !== 'answers') throw new Error(JSON.stringify(outcome))
  return outcome.bodies.map((body, index): Asked => {
    const failure = outcome.failures?.find((one) => one.index === index)
    return failure === undefined ? JSON.parse(String(body)) : { ...failure }
  })
}
