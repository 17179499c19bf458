/** The pools of one loaded generation: only those that its endpoints need, seen as one. */

import type { WorkerSetup } from '../../workers/protocol.ts'
import { assert } from '../base/assert.ts'
import type { Logger } from '../base/logger.ts'
import { type PoolKind, poolOf } from '../bundle/kinds.ts'
import type { EndpointPlan } from '../bundle/plan.ts'
import type { Spawner } from '../children/spawner.ts'
import type { RuntimeStatus } from '../children/spec.ts'
import type { BatchRunner } from '../dispatch/lane.ts'
import { IoPool } from './io-pool.ts'
import { Pool } from './pool.ts'
import { slotsOf } from './slots.ts'

export interface PoolsOptions {
  readonly setup: Omit<WorkerSetup, 'pool'>
  /** Of the pool that computes; the other one has one. */
  readonly threads: number
  readonly spawner: Spawner
  readonly logger: Logger
  readonly onThread: () => void
  readonly onStatus: () => void
  readonly onDown: (reason: string) => void
}

export class Pools {
  readonly #setup: Omit<WorkerSetup, 'pool'>
  readonly #cpu: Pool | null
  readonly #io: IoPool | null

  private constructor(setup: Omit<WorkerSetup, 'pool'>, cpu: Pool | null, io: IoPool | null) {
    this.#setup = setup
    this.#cpu = cpu
    this.#io = io
  }

  /** One after the other, since each load takes a core; all or none. */
  static async start(options: PoolsOptions): Promise<Pools> {
    const { setup } = options
    const kinds = new Set(setup.plan.endpoints.map((plan) => poolOf(plan, setup.plan)))
    const cpu = kinds.has('cpu')
      ? await Pool.start({ ...options, setup: { ...setup, pool: 'cpu' } })
      : null
    try {
      const io = kinds.has('io')
        ? await IoPool.start({ ...options, setup: { ...setup, pool: 'io' } })
        : null
      return new Pools(setup, cpu, io)
    } catch (error) {
      await cpu?.close()
      throw error
    }
  }

  get threads(): number {
    return (this.#cpu?.threads ?? 0) + (this.#io?.threads ?? 0)
  }

  get lostThreads(): number {
    return (this.#cpu?.lostThreads ?? 0) + (this.#io?.lostThreads ?? 0)
  }

  get statuses(): readonly RuntimeStatus[] {
    return this.#io?.statuses ?? []
  }

  kindOf(plan: EndpointPlan): PoolKind {
    return poolOf(plan, this.#setup.plan)
  }

  /** One for all lanes of an endpoint, since they share its children. */
  runnerOf(plan: EndpointPlan): BatchRunner {
    const io = this.#io?.runner(slotsOf(plan, this.#setup.plan, this.#setup.settings))
    const runner = this.kindOf(plan) === 'cpu' ? this.#cpu : io
    assert(runner != null, 'every endpoint has its pool')
    return runner
  }

  threadHangs(kind: PoolKind): void {
    this.#of(kind)?.threadHangs()
  }

  threadIsBack(kind: PoolKind): void {
    this.#of(kind)?.threadIsBack()
  }

  async close(): Promise<void> {
    await Promise.all([this.#io?.close(), this.#cpu?.close()])
  }

  #of(kind: PoolKind): Pool | IoPool | null {
    return kind === 'cpu' ? this.#cpu : this.#io
  }
}
