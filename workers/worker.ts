/**
 * The entry of every pool thread. It loads the endpoints of one generation that are its pool's,
 * runs each once, then answers batches. It never throws over the border: an Error would arrive
 * without its code.
 */

import { type MessagePort, receiveMessageOnPort, threadId, workerData } from 'node:worker_threads'
import { nowMs } from '../core/base/clock.ts'
import type { ErrorCode } from '../core/base/errors.ts'
import { JobSlot } from '../core/channel/job-slot.ts'
import { type Endpoints, openEndpoints, releaseEndpoints } from './endpoints.ts'
import { shortReason } from './forge/reasons.ts'
import { yieldToOthers } from './priority.ts'
import type {
  BatchJob,
  LineEnd,
  LineMessage,
  WorkerOutcome,
  WorkerSetup,
  WorkerTask,
} from './protocol.ts'
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
      case 'serve':
        return await serve(task.line)
      case 'load':
        return await load(task.port ?? null)
      case 'batch':
        return await runBatch(task.job)
      default:
        return await release()
    }
  } catch (error) {
    return failed(error, task.kind === 'load' ? 'ERR_LOAD_FAILED' : 'ERR_INTERNAL')
  }
}

/** Callers of the service may read it, so it names no path of this machine. */
function failed(error: unknown, code: ErrorCode): WorkerOutcome {
  return { kind: 'failed', code, detail: shortReason(error) }
}

async function serve({ port, memory }: LineEnd): Promise<WorkerOutcome> {
  const slot = new JobSlot(memory)
  const load = await loadOutcome()
  if (load.kind === 'failed') return load
  port.postMessage(load)
  for (;;) {
    slot.wait()
    const job = slot.take() ?? received(port)
    if (job === null) return release()
    const outcome = await batchOutcome(job)
    port.postMessage(slot.putAnswers(outcome) ?? outcome)
  }
}

/** The job that did not fit into the slot; null: there is no other. */
function received(port: MessagePort): BatchJob | null {
  const message: LineMessage = receiveMessageOnPort(port)?.message
  return message.kind === 'batch' ? message.job : null
}

async function loadOutcome(): Promise<WorkerOutcome> {
  try {
    return await load(null)
  } catch (error) {
    return failed(error, 'ERR_LOAD_FAILED')
  }
}

async function batchOutcome(job: BatchJob): Promise<WorkerOutcome> {
  try {
    return await runBatch(job)
  } catch (error) {
    return failed(error, 'ERR_INTERNAL')
  }
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
  // Both pools load first; a thread that is given a batch before that loads all the same.
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
