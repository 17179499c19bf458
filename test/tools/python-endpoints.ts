/**
 * Python endpoints as a worker has them: code in a temporary folder, real children through a real
 * host, and batches as dispatch packs them.
 */

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Test } from 'tap'
import type { Verb } from '../../core/bundle/kinds.ts'
import type {
  CustomPredictionPlan,
  PythonEndpointPlan,
  PythonPlan,
  TablePlan,
} from '../../core/bundle/plan.ts'
import type { RuntimeStatus } from '../../core/children/spec.ts'
import type { RuntimeSettings } from '../../core/config/runtimes.ts'
import type { ChildHost } from '../../workers/children/child-host.ts'
import { localHost } from '../../workers/children/local-host.ts'
import type { BatchJob, RequestFacts, WorkerOutcome } from '../../workers/protocol.ts'
import { openPython } from '../../workers/python/runtime.ts'
import type { Runtime } from '../../workers/runtime.ts'
import { runtimes } from './runtimes.ts'

export type Answers = Extract<WorkerOutcome, { kind: 'answers' }>

/** Debian's, or the first of the path: the one that runtimes() takes. */
export function whyNoPython(...modules: readonly string[]): string | false {
  const probe = ['-c', `import ${['sys', ...modules].join(', ')}`]
  const found = spawnSync('/usr/bin/python3', probe, { encoding: 'utf8' })
  if (found.status === 0) return false
  const said = found.stderr?.trim().split('\n').at(-1) ?? String(found.error?.message)
  return `/usr/bin/python3 with ${modules.join(', ') || 'nothing else'} is missing: ${said}`
}

export interface PythonPlace {
  readonly directory: string
  readonly settings: RuntimeSettings
  readonly host: ChildHost
  /** What children and the runtime have logged. */
  readonly log: readonly string[]
  readonly statuses: readonly RuntimeStatus[]
  open(plan: PythonEndpointPlan, tables?: readonly TablePlan[]): Promise<PythonEndpoint>
}

export async function pythonPlace(
  t: Test,
  files: Readonly<Record<string, string>>,
  given: Partial<RuntimeSettings> = {},
): Promise<PythonPlace> {
  const directory = mkdtempSync(join(tmpdir(), 'switchyard-python-'))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true })
    writeFileSync(join(directory, name), text)
  }
  const settings = runtimes(t, given)
  const lines: string[] = []
  const statuses: RuntimeStatus[] = []
  const log = (level: string, fields: object, text: string): void => {
    lines.push(`${level} ${text} ${JSON.stringify(fields)}`)
  }
  const host = await localHost(settings, log)
  const opened: Runtime[] = []
  t.teardown(async () => {
    for (const runtime of opened) await runtime.release()
    await host.close()
    rmSync(directory, { recursive: true, force: true })
  })
  const open: PythonPlace['open'] = async (plan, tables = []) => {
    const runtime = await openPython(plan, {
      serviceId: 'svc',
      generationId: 'g1',
      directory,
      tables,
      settings,
      children: host,
      spares: 1,
      report: (status) => statuses.push(status),
      log,
    })
    opened.push(runtime)
    return new PythonEndpoint(runtime)
  }
  return { directory, settings, host, log: lines, statuses, open }
}

/** A request: a body (text as it is, anything else as JSON), or the query of a GET. */
export interface Asked {
  readonly body?: unknown
  readonly facts?: Partial<RequestFacts>
  readonly waitUs?: number
}

/** One request's part of an outcome. */
export interface Told {
  readonly status: 'answer' | 'raw' | 'failed'
  /** JSON of the whole answer. */
  readonly answer?: Record<string, unknown>
  readonly bytes: number
  readonly code?: string
  readonly detail?: string
  readonly httpStatus?: number
  readonly headers?: readonly (readonly [string, string])[]
  readonly text?: string
}

export class PythonEndpoint {
  readonly runtime: Runtime

  constructor(runtime: Runtime) {
    this.runtime = runtime
  }

  async ask(body: unknown, facts?: Partial<RequestFacts>): Promise<Told> {
    const [told] = await this.batch([{ body, ...(facts === undefined ? {} : { facts }) }])
    if (told === undefined) throw new Error('no answer')
    return told
  }

  async get(query: string): Promise<Told> {
    return this.ask('', { method: 'GET', query })
  }

  /** What the function returned, or the failure. */
  async response(body: unknown): Promise<unknown> {
    const told = await this.ask(body)
    return told.status === 'answer' ? told.answer?.['response'] : told
  }

  async batch(asked: readonly Asked[], verb: Verb = 'single'): Promise<Told[]> {
    const outcome = await this.runtime.run(packed(asked, verb))
    if (outcome.kind !== 'answers') throw new Error(JSON.stringify(outcome))
    return asked.map((_, index) => toldOf(outcome, index))
  }
}

function packed(asked: readonly Asked[], verb: Verb): BatchJob {
  const bodies = asked.map(({ body = '' }) => {
    if (body instanceof Uint8Array) return Buffer.from(body)
    return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
  })
  let end = 0
  const ends = Uint32Array.from(bodies, ({ length }) => {
    end += length
    return end
  })
  const facts = asked.map(({ facts: given }) => ({
    method: 'POST',
    path: '/public/api/v1/svc/ep/run',
    query: '',
    headers: [],
    ...given,
  }))
  return {
    endpoint: 0,
    verb,
    bytes: new Uint8Array(Buffer.concat(bodies)),
    ends,
    waitUs: Uint32Array.from(asked, ({ waitUs = 0 }) => waitUs),
    requests: facts,
  }
}

function toldOf(outcome: Answers, index: number): Told {
  const failure = outcome.failures?.find((one) => one.index === index)
  if (failure !== undefined) {
    const { code, detail, status } = failure
    const own = status === undefined ? {} : { httpStatus: status }
    return { status: 'failed', bytes: 0, code, detail, ...own }
  }
  const raw = outcome.raw?.find((one) => one.index === index)
  if (raw !== undefined) {
    const text = Buffer.from(raw.body).toString('latin1')
    const { status, headers, body } = raw
    return { status: 'raw', bytes: body.length, httpStatus: status, headers, text }
  }
  const body = outcome.bodies[index] ?? ''
  const text = typeof body === 'string' ? body : Buffer.from(body).toString()
  if (typeof body !== 'string' && body.byteLength !== body.buffer.byteLength) {
    throw new Error('the bytes of an answer must be all of their memory')
  }
  return { status: 'answer', bytes: text.length, answer: JSON.parse(text) }
}

const common = {
  modelRef: 'code',
  timeoutMs: 10_000,
  queue: { maxRequests: 100, maxBytes: 1_000_000 },
  worstBatchMs: 0,
  warmUp: [],
}

const code: PythonPlan = {
  file: 'code.py',
  name: 'f',
  children: 1,
  variables: {},
  get: true,
  prediction: null,
  environment: null,
  rawResponse: false,
  requestMetadata: false,
  dataFolder: '',
}

export function functionPlan(
  python: Partial<PythonPlan> = {},
  other: Partial<PythonEndpointPlan> = {},
): PythonEndpointPlan {
  return {
    ...common,
    id: 'ep',
    type: 'PYTHON_FUNCTION',
    python: { ...code, ...python },
    ...other,
  }
}

export function predictionPlan(
  prediction: Partial<CustomPredictionPlan>,
  python: Partial<PythonPlan> = {},
  other: Partial<PythonEndpointPlan> = {},
): PythonEndpointPlan {
  const custom: CustomPredictionPlan = {
    kind: 'REGRESSION',
    classes: [],
    threshold: null,
    input: 'records',
    features: null,
    batchable: true,
    maxRows: 64,
    ...prediction,
  }
  const plan = { ...code, name: '', get: false, prediction: custom, ...python }
  return { ...common, id: 'ep', type: 'CUSTOM_PREDICTION', python: plan, ...other }
}
