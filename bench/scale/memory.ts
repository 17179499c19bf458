/**
 * What a large model costs in memory when more workers serve it: whether each holds its weights
 * once more. No service has more threads than the node has cores for models, so the workers are
 * added as services with the same model, of one thread each: they share what threads share.
 */

import { statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BareNode, callerHeaders, servingPid, startBareNode } from '../bare-node.ts'
import { median } from '../latency.ts'
import type { Machine } from '../machine.ts'
import { deployService } from '../node-server.ts'
import { drive } from '../tools.ts'
import { bundleFile } from '../workloads/bundle.ts'
import { rowsOf, workloadOf } from '../workloads/workloads.ts'

const WORKERS = { few: 1, many: 4 }
const PROCESSES = 2
const THREADS_OF_EACH = Math.min(2, availableParallelism())
const SETTLE_MS = 2_000
const MB = 1_000_000

export interface MemoryTrial {
  readonly modelBytes: number
  /** Memory of its own that each of the added threads took, median over rounds. */
  readonly privateBytesPerWorker: number
  /** Of the whole node with two serving processes. */
  readonly pssBytes: number
  /** The most that it may be. */
  readonly pssBytesMax: number
  /** In all processes together. */
  readonly threads: number
}

export async function memoryTrial(machine: Machine, rounds: number): Promise<MemoryTrial> {
  const modelBytes = statSync(workloadOf('dense').model()).size
  const perWorker: number[] = []
  for (let round = 0; round < rounds; round++) perWorker.push(await bytesPerWorker(machine))
  const threads = THREADS_OF_EACH * PROCESSES
  const pssBytes = await withNode(PROCESSES, async (node) => {
    await deployAndUse(node, 0, { processes: PROCESSES, threads: THREADS_OF_EACH })
    return machine.memory(node.pid).pss
  })
  const pssBytesMax = pssBound(modelBytes, { processes: PROCESSES + 1, threads })
  return { modelBytes, privateBytesPerWorker: median(perWorker), pssBytes, pssBytesMax, threads }
}

/** Of the serving process alone: what control keeps of an upload is no worker's. */
function bytesPerWorker(machine: Machine): Promise<number> {
  return withNode(1, async (node) => {
    const ownBytes: number[] = []
    for (let i = 0; i < WORKERS.many; i++) {
      await deployAndUse(node, i, { processes: 1, threads: 1 })
      ownBytes.push(machine.memory(await servingPid(node.admin)).own)
    }
    const [few = Number.NaN, many = Number.NaN] = [ownBytes[WORKERS.few - 1], ownBytes.at(-1)]
    return (many - few) / (WORKERS.many - WORKERS.few)
  })
}

/** Control is a process too. */
export function pssBound(
  modelBytes: number,
  { processes, threads }: { processes: number; threads: number },
): number {
  return modelBytes * 1.1 + 60 * MB * processes + 25 * MB * threads
}

async function withNode<T>(processes: number, task: (node: BareNode) => Promise<T>): Promise<T> {
  const cores = ['--model-cores', String(THREADS_OF_EACH)]
  const args = ['--processes', String(processes), ...cores]
  const node = await startBareNode({ args })
  try {
    return await task(node)
  } finally {
    await node.stop()
  }
}

interface Setting {
  readonly processes: number
  /** In each of them. */
  readonly threads: number
}

/** Every process has run the model, as it would in production, before its memory is looked at. */
async function deployAndUse(
  node: BareNode,
  number: number,
  { processes, threads }: Setting,
): Promise<void> {
  const workload = workloadOf('dense')
  const service = `bench-${number}`
  await deployService(node.admin, service, bundleFile(workload, { threads }))
  const headers = await callerHeaders(node.admin)
  const body = JSON.stringify({ features: rowsOf(workload, 1)[0] })
  const url = `${node.url}/public/api/v1/${service}/predict/predict`
  const shape = { kind: 'closed', connections: 16 * processes, seconds: 2 } as const
  const { failures } = await drive({ ...shape, url, headers, body }).sample
  if (failures > 0) throw new Error(`${failures} failed requests to ${service}`)
  await sleep(SETTLE_MS)
}
