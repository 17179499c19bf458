/**
 * The entry of every pool thread. It loads all endpoints of one generation, runs each once, then
 * answers batches. It never throws over the border: an Error would arrive without its code.
 */

import { threadId, workerData } from 'node:worker_threads'
import { nowMs } from '../core/base/clock.ts'
import type { ErrorCode } from '../core/base/errors.ts'
import type { EndpointPlan } from '../core/bundle/plan.ts'
import { shortReason } from './forge/reasons.ts'
import { openPredictor, type Predictor } from './onnx/predictor.ts'
import type { BatchJob, WorkerOutcome, WorkerSetup, WorkerTask } from './protocol.ts'

// Piscina hands `workerData` over as it was given to the pool.
const setup: WorkerSetup = workerData as WorkerSetup
const encoder = new TextEncoder()
let predictors: readonly Predictor[] = []

export default async function work(task: WorkerTask): Promise<WorkerOutcome> {
  try {
    switch (task.kind) {
      case 'load':
        return await load()
      case 'batch':
        return await runBatch(task.job)
      default:
        return await release()
    }
  } catch (error) {
    // Callers of the service may read it, so it names no path of this machine.
    return { kind: 'failed', code: failureCode(task), detail: shortReason(error) }
  }
}

function failureCode(task: WorkerTask): ErrorCode {
  return task.kind === 'load' ? 'ERR_LOAD_FAILED' : 'ERR_INTERNAL'
}

/** The second load of a thread that has loaded already costs nothing. */
async function load(): Promise<WorkerOutcome> {
  const startMs = nowMs()
  if (predictors.length === 0) predictors = await openAll()
  return { kind: 'loaded', thread: threadId, loadMs: nowMs() - startMs }
}

/** All or none: a model that is not released keeps its memory when the thread has ended. */
async function openAll(): Promise<readonly Predictor[]> {
  const opened: Predictor[] = []
  try {
    for (const plan of setup.plan.endpoints) {
      const predictor = await openPredictor(setup.directory, setup, plan)
      opened.push(predictor)
      for (const body of plan.warmUp) await warmUp(predictor, plan, body)
    }
    return opened
  } catch (error) {
    for (const predictor of opened) await predictor.release()
    throw error
  }
}

/** The first runs of a model cost page faults and compilation; no caller shall pay for them. */
async function warmUp(predictor: Predictor, plan: EndpointPlan, body: string): Promise<void> {
  const bytes = encoder.encode(body)
  const ends = Uint32Array.of(bytes.length)
  const waitUs = new Uint32Array(1)
  const outcome = await predictor.run({ endpoint: 0, verb: 'single', bytes, ends, waitUs })
  const failure = outcome.kind === 'answers' ? (outcome.failures?.[0] ?? null) : null
  if (failure !== null) {
    throw new Error(`endpoint ${plan.id} failed its warm-up: ${failure.detail}`)
  }
}

async function runBatch(job: BatchJob): Promise<WorkerOutcome> {
  // A thread that took the place of a crashed one may get a batch before it was told to load.
  if (predictors.length === 0) predictors = await openAll()
  const predictor = predictors[job.endpoint]
  if (predictor === undefined) {
    return { kind: 'failed', code: 'ERR_INTERNAL', detail: 'the endpoint is not loaded' }
  }
  return predictor.run(job)
}

async function release(): Promise<WorkerOutcome> {
  const held = predictors
  predictors = []
  for (const predictor of held) await predictor.release()
  return { kind: 'released' }
}
