/**
 * Explains predictions of one endpoint in one thread, a slice at a time: a request whose rows take
 * longer than a slice is handed back with its state, so that others get the thread in between.
 */

import { randomUUID } from 'node:crypto'
import { nowMs } from '../../core/base/clock.ts'
import { AppError, toAppError } from '../../core/base/errors.ts'
import type { EndpointPlan } from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { endOfWaiting, envelopeTail, milliseconds } from '../predictions/envelope.ts'
import { itemsOf } from '../predictions/requests.ts'
import type { BatchJob, WorkerOutcome } from '../protocol.ts'
import { type Background, readBackground, rowsOf, Table } from './background.ts'
import { MixedRows } from './mixed-rows.ts'
import { Pace } from './pace.ts'
import { isRefused, type Progress, Slice } from './slice.ts'
import type { ExplainState, Explains, Predicts, Scorer } from './types.ts'

export interface ExplainerOptions {
  readonly plan: EndpointPlan
  readonly serviceId: string
  readonly generationId: string
  /** Default: that of the limits. */
  readonly sliceMs?: number
}

/** Null: the endpoint has no background sample. */
export async function openExplainer<Held>(
  directory: string,
  options: ExplainerOptions,
): Promise<Explainer<Held> | null> {
  const { explanations } = options.plan
  if (explanations === undefined) return null
  return new Explainer(await readBackground(directory, explanations.background), options)
}

export class Explainer<Held> implements Explains<Held> {
  readonly background: Background
  readonly #options: ExplainerOptions
  readonly #table: Table
  readonly #tail: string
  #pace: Pace | null = null
  #rows: MixedRows | null = null
  #held: Held | null = null
  /** Kept between slices as long as nobody needs the memory. */
  #parsed: { readonly id: string; readonly items: WeakRef<readonly unknown[]> } | null = null

  constructor(background: Background, options: ExplainerOptions) {
    this.background = background
    this.#options = options
    this.#table = new Table(background)
    this.#tail = envelopeTail(options.plan, options)
  }

  async run(job: BatchJob, predicts: Predicts<Held>): Promise<WorkerOutcome> {
    const startMs = nowMs()
    try {
      const state = stateOf(job)
      const progress = progressOf(state, job)
      const isDone = await this.#slice({ job, predicts, startMs, state, progress })
      const tookMs = nowMs() - startMs
      const executeUs = Math.round(tookMs * 1_000)
      progress.totalMs += tookMs
      if (!isDone) return { kind: 'continues', state: { ...state, progress }, executeUs }
      const bodies = [this.#body(state, progress)]
      return { kind: 'answers', bodies, failures: null, executeUs }
    } catch (error) {
      const { code, detail, status } = toAppError(error)
      const failures = [{ index: 0, code, detail: detail ?? '', status }]
      const executeUs = Math.round((nowMs() - startMs) * 1_000)
      return { kind: 'answers', bodies: [''], failures, executeUs }
    }
  }

  async #slice({ job, predicts, startMs, state, progress }: Started<Held>): Promise<boolean> {
    const { plan, sliceMs = LIMITS.explanationSliceMs } = this.#options
    const { scorer } = predicts
    this.#pace ??= new Pace(plan.explanations?.run?.ms ?? plan.worstBatchMs, scorer.rowsMax)
    this.#rows ??= new MixedRows(scorer.rowsMax, scorer.features.length)
    const slice = new Slice({
      table: this.#table,
      pace: this.#pace,
      rows: this.#rows,
      background: this.#backgroundFor(scorer),
      predicts,
      state,
      progress,
      sliceEndMs: startMs + sliceMs,
      endMs: endOfWaiting(job, plan.timeoutMs, startMs),
    })
    return slice.run(this.#items(state, progress, predicts))
  }

  #items({ verb }: ExplainState, { id }: Progress, predicts: Predicts<Held>): readonly unknown[] {
    const known = this.#parsed?.id === id ? this.#parsed.items.deref() : undefined
    if (known !== undefined) return known
    const parsed = predicts.parse()
    if (parsed.kind === 'refused') throw new AppError('ERR_BODY_INVALID', parsed.reason)
    const items = verb === 'single' ? [parsed.value] : itemsOf(parsed.value)
    if ('kind' in items) throw new AppError('ERR_BODY_INVALID', items.reason)
    this.#parsed = { id, items: new WeakRef(items) }
    return items
  }

  #backgroundFor({ features, hold }: Scorer<Held>): Held {
    if (this.#held !== null) return this.#held
    if (features.join('\n') !== this.background.features.join('\n')) {
      throw new AppError('ERR_INTERNAL', 'the background sample has other features')
    }
    const held = hold(rowsOf(this.background))
    if (isRefused(held)) throw new AppError('ERR_INTERNAL', held.detail)
    this.#held = held
    return held
  }

  #body({ verb }: ExplainState, progress: Progress): string {
    const { done, waitMs, predictionMs, explanationMs, totalMs } = progress
    const results = verb === 'single' ? `{"result":${done}` : `{"results":[${done}]`
    const preparation = milliseconds(totalMs - predictionMs - explanationMs)
    const times = [
      `"wait":${milliseconds(waitMs)}`,
      `"preparation":${preparation}`,
      `"prediction":${milliseconds(predictionMs)}`,
      `"explanation":${milliseconds(explanationMs)}`,
    ]
    return `${results},"timing":{${times.join(',')}${this.#tail}`
  }
}

interface Started<Held> {
  readonly job: BatchJob
  readonly predicts: Predicts<Held>
  readonly startMs: number
  readonly state: ExplainState
  readonly progress: Progress
}

/** Of our own making, by way of the main thread. */
function stateOf({ state }: BatchJob): ExplainState {
  if (state === undefined) throw new AppError('ERR_INTERNAL', 'nobody has asked for explanations')
  return state as ExplainState
}

function progressOf({ progress }: ExplainState, { waitUs }: BatchJob): Progress {
  if (progress !== undefined) return { ...(progress as Progress) }
  return {
    id: randomUUID(),
    waitMs: (waitUs[0] ?? 0) / 1_000,
    predictionMs: 0,
    explanationMs: 0,
    totalMs: 0,
    index: 0,
    done: '',
    row: null,
  }
}
