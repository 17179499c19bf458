/**
 * The entry of every pool thread. It loads the endpoints of one generation that are its pool's,
 * runs each once, then answers batches. It never throws over the border: an Error would arrive
 * without its code.
 */

import { type MessagePort, threadId, workerData } from 'node:worker_threads'
import { nowMs } from '../core/base/clock.ts'
import type { ErrorCode } from '../core/base/errors.ts'
import { type Endpoints, openEndpoints, releaseEndpoints } from './endpoints.ts'
import { shortReason } from './forge/reasons.ts'
import { yieldToOthers } from './priority.ts'
import type { BatchJob, WorkerOutcome, WorkerSetup, WorkerTask } from './protocol.ts'
import { type Surroundings, surroundingsOf } from './surroundings.ts'

// Piscina hands `workerData` over as it was given to the pool.
const setup: WorkerSetup = workerData as WorkerSetup

interface Loaded {
  readonly surroundings: Surroundings
  readonly endpoints: Endpoints
}

let loaded: Loaded | null = null

export default async function work(task: WorkerTask): Promise<WorkerOutcome> {
  try {
    switch (task.kind) {
      case 'load':
        return await load(task.port ?? null)
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
async function load(port: MessagePort | null): Promise<WorkerOutcome> {
  const startMs = nowMs()
  const isFirst = loaded === null
  loaded ??= await openBesideOthers(port)
  const { notes } = loaded.surroundings
  const told = isFirst && notes.length > 0 ? { notes } : {}
  return { kind: 'loaded', thread: threadId, loadMs: nowMs() - startMs, ...told }
}

/** What answers already goes on as before, where the system lets a thread choose. */
async function openBesideOthers(port: MessagePort | null): Promise<Loaded> {
  const restore = await yieldToOthers()
  let opened: Loaded | null = null
  try {
    opened = await open(port)
    return opened
  } finally {
    const kept = restore()
    const log = opened?.surroundings.context.log
    if (kept !== null) log?.('warn', { err: kept }, 'a thread keeps the low priority of its load')
  }
}

async function open(port: MessagePort | null): Promise<Loaded> {
  const surroundings = await surroundingsOf(setup, port)
  try {
    const endpoints = await openEndpoints(setup, surroundings.context)
    surroundings.flush()
    return { surroundings, endpoints }
  } catch (error) {
    await surroundings.close()
    throw error
  }
}

async function runBatch(job: BatchJob): Promise<WorkerOutcome> {
  // A thread that took the place of a crashed one may get a batch before it was told to load; one
  // that starts children is given none before.
  loaded ??= await open(null)
  const runtime = loaded.endpoints.get(job.endpoint)
  if (runtime === undefined) {
    return { kind: 'failed', code: 'ERR_INTERNAL', detail: 'the endpoint is not loaded' }
  }
  return runtime.run(job)
}

async function release(): Promise<WorkerOutcome> {
  const held = loaded
  loaded = null
  if (held !== null) {
    // Children and the port go also where a model cannot be released.
    await releaseEndpoints(held.endpoints).finally(() => held.surroundings.close())
  }
  return { kind: 'released' }
}
