/**
 * What a request asks for beside its rows: another generation, or explanations. Either is answered
 * in another lane, which only who has read the body can know. A body that asks for neither costs
 * two look-ups of a key.
 */

import type { ErrorCode } from '../../core/base/errors.ts'
import { isObject } from '../../core/base/json.ts'
import type { EndpointPlan } from '../../core/bundle/plan.ts'
import { type Parsed, parseBodies } from '../bodies.ts'
import { requestOf } from '../explanations/request.ts'
import type { BatchJob, RequestFacts, Reroute, WorkerOutcome } from '../protocol.ts'
import { NOT_UTF8, parametersOf } from '../query.ts'
import { quickBodies } from '../quick-rows/bodies.ts'
import type { QuickRows, RowReader } from '../quick-rows/row-reader.ts'
import type { Elsewhere, Refused } from './requests.ts'
import { quoted } from './values.ts'

export type Body = Parsed | QuickRows | Refused | Elsewhere

export interface Sorted {
  /** One entry per request. */
  readonly bodies: readonly Body[]
  readonly reroutes: readonly Reroute[]
}

export const NO_BODY: Parsed = { kind: 'refused', reason: 'there is no body' }

/** Sent on to who cannot explain: the bundle was accepted by an older version. */
export const NOT_EXPLAINED: WorkerOutcome = {
  kind: 'failed',
  code: 'ERR_EXPLANATION_UNAVAILABLE',
  detail: 'the model answers no numbers that could be explained',
}

const ELSEWHERE: Elsewhere = { kind: 'elsewhere' }

/** What it asks. */
export interface Asked {
  readonly plan: EndpointPlan
  readonly generationId: string
  /** Null: every body is parsed. */
  readonly reader: RowReader | null
}

export function sortBodies(job: BatchJob, { plan, generationId, reader }: Asked): Sorted {
  const isPlain = reader !== null && job.requests === undefined
  const bodies: Body[] = isPlain ? quickBodies(job, reader) : requestBodies(job)
  const reroutes: Reroute[] = []
  for (let index = 0; index < bodies.length; index++) {
    const body = bodies[index]
    if (body?.kind !== 'value' || !isObject(body.value)) continue
    const asked = askedOf(body.value, { job, index, plan, generationId })
    if (asked === null) continue
    if (!('index' in asked)) bodies[index] = asked
    else {
      bodies[index] = ELSEWHERE
      reroutes.push(asked)
    }
  }
  return { bodies, reroutes }
}

/** What was posted, or the query of a GET as if it had been. */
export function requestBodies({ bytes, ends, requests }: BatchJob): Parsed[] {
  const bodies = parseBodies(bytes, ends)
  if (requests === undefined) return bodies
  return bodies.map((body, i) => {
    const facts = requests[i]
    return facts?.method === 'GET' ? ofQuery(facts) : body
  })
}

/** All parameters are features, as texts: their rules make numbers of those. */
function ofQuery({ query }: RequestFacts): Parsed {
  const parameters = parametersOf(query)
  if (parameters === null) return { kind: 'refused', reason: NOT_UTF8 }
  const features = new Map<string, string>()
  for (const [name, value] of parameters) {
    // Nobody knows which of them was meant.
    if (features.has(name)) {
      return { kind: 'refused', reason: `the query has the feature ${quoted(name)} twice` }
    }
    features.set(name, value)
  }
  return { kind: 'value', value: { features: Object.fromEntries(features) } }
}

interface Place {
  readonly job: BatchJob
  readonly index: number
  readonly plan: EndpointPlan
  readonly generationId: string
}

type Asking = Readonly<Record<string, unknown>>

/** Null: nothing, or nothing that is not done here. */
function askedOf(body: Asking, place: Place): Reroute | Refused | null {
  const { dispatch, explanations } = body
  if (dispatch !== undefined && dispatch !== null) {
    const sent = dispatchOf(dispatch, place)
    if (sent !== null) return sent
  }
  const plan = place.plan.explanations
  const isSilent = explanations === undefined || explanations === null
  return isSilent && plan?.enabled !== true ? null : explained(body, place)
}

function explained(body: Asking, { job, index, plan }: Place): Reroute | Refused | null {
  const verb = job.verb === 'multi' ? 'multi' : 'single'
  const asked = requestOf(body, plan.explanations, verb)
  if (asked.kind === 'plain') return null
  if (asked.kind === 'refused') return refused(asked.detail, asked.code)
  return { index, kind: 'explain', state: asked.state }
}

function dispatchOf(given: unknown, place: Place): Reroute | Refused | null {
  if (!isObject(given)) return refused('"dispatch" must be an object or null')
  const wanted = textOf(given, 'forcedGeneration')
  const key = textOf(given, 'dispatchKey')
  if (wanted.kind === 'refused') return wanted
  if (key.kind === 'refused') return key
  const { job, index, generationId } = place
  // Sent on once, it is answered where it came to.
  if (job.settled?.[index] === 1) return null
  if (wanted.text !== null) {
    const isOwn = wanted.text === generationId
    return isOwn ? null : { index, kind: 'generation', generationId: wanted.text }
  }
  if (key.text === null || job.split !== true) return null
  return { index, kind: 'dispatchKey', dispatchKey: key.text }
}

type Text = { readonly kind: 'text'; readonly text: string | null } | Refused

function textOf(dispatch: Asking, name: string): Text {
  const value = Object.hasOwn(dispatch, name) ? dispatch[name] : null
  if (value === null || value === undefined) return { kind: 'text', text: null }
  if (typeof value === 'string') return { kind: 'text', text: value }
  return refused(`"dispatch.${name}" must be a text or null`)
}

function refused(reason: string, code: ErrorCode = 'ERR_BODY_INVALID'): Refused {
  return { kind: 'refused', code, reason }
}
