/**
 * One data directory and the nodes that live on it one after the other, each ended in the middle of
 * something; beside them somebody who remembers all that was acknowledged, and what was pending,
 * and looks after every start whether the node is where that leads.
 */

import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { Home } from '../../admin/store/home.ts'
import { LmdbStore } from '../../admin/store/lmdb-store.ts'
import { nowMs } from '../../core/base/clock.ts'
import { Chooser, GUARD } from './choosing.ts'
import { bundleOf, Client } from './client.ts'
import {
  applied,
  EMPTY,
  generationsOf,
  generationsOnDisk,
  type Kind,
  type Operation,
  operationOf,
  outcomes,
  perform,
  type State,
  stateOf,
} from './history.ts'
import { freshHome, readyLine, type StartedProcess, startProcess } from './node.ts'
import { regressor } from './onnx-models.ts'
import type { Random } from './random.ts'

/** The model of generation `g7` answers seven times the sum of this. */
export const ROW = { features: { f0: 1, f1: 2 } }
export const ROW_SUM = 3
/** Of the keys and names of the past, so many are tried after each start. */
const TRIED_MAX = 10

/** One operation under way, and what became of it. */
export interface Asked {
  readonly operation: Operation
  /** With success. */
  answered: boolean
  /** The status of a refusal and its body, or null. */
  failure: string | null
  readonly ended: Promise<void>
}

/** What a strike is given: the node, and what it is in the middle of. */
export interface Struck {
  readonly client: Client
  readonly started: StartedProcess
  readonly asked: readonly Asked[]
}

/** Ends all processes of a node while it is in the middle of something; says how it did that. */
export type Strike = (struck: Struck) => Promise<string>

export class Life {
  readonly home: string
  readonly #t: Test
  readonly #chooser: Chooser
  readonly #env: Readonly<Record<string, string>>
  readonly #secrets = new Map<string, string>()
  readonly #keyIds = new Map<string, string>()
  /** How long each kind of operation takes here. */
  readonly #tookMs = new Map<Kind, number>()
  /**
   * Everything that was acknowledged; the rest of the journal was pending. What was asked at the
   * same time is one group, answered in any order: a switch commits, and its answer still waits for
   * the serving process when a later key's is sent.
   */
  readonly #acknowledged: Operation[][] = []
  #state: State = EMPTY
  /** The journal may lack numbers: a change that was refused had taken one. */
  #hasGaps = false
  /** What became of operations that nobody was answered. */
  readonly undecided = { done: 0, notDone: 0 }
  #started: StartedProcess | null = null
  #client: Client | null = null

  constructor(t: Test, random: Random, env: Readonly<Record<string, string>> = {}) {
    this.#t = t
    this.#chooser = new Chooser(random)
    this.#env = { SWITCHYARD_ADMIN_KEY: randomBytes(18).toString('hex'), ...env }
    this.home = freshHome(t)
  }

  get state(): State {
    return this.#state
  }

  /** Milliseconds. */
  tookMs(kind: Kind): number {
    return this.#tookMs.get(kind) ?? 10
  }

  /** Each of `kinds` is done once, for its duration. */
  async begin(kinds: Iterable<Kind> = []): Promise<void> {
    await this.start()
    await this.#do({ kind: 'createService', service: GUARD })
    const bundle = bundleOf(regressor(2), {}, { authorization: 'API_KEYS' })
    const imported = await this.running().client.upload(GUARD, 'g1', bundle)
    this.#t.equal(imported.status, 200, JSON.stringify(imported.body))
    this.#acknowledged.push([])
    this.#acknowledge({ kind: 'importGeneration', service: GUARD, generation: 'g1' })
    await this.#do({ kind: 'switchGeneration', service: GUARD, generation: 'g1' })
    for (const kind of new Set(kinds)) await this.perform(kind)
  }

  /** One that is acknowledged. */
  async perform(kind: Kind): Promise<void> {
    await this.#do(await this.choose(kind))
  }

  /** An operation of this kind that is possible; what it needs is done first. */
  async choose(kind: Kind): Promise<Operation> {
    for (;;) {
      const choice = this.#chooser.choose(kind, this.#state, this.#knownKeys())
      if (!('needs' in choice)) return choice
      await this.perform(choice.needs)
    }
  }

  /** One that needs nothing, for beside another. */
  beside(): Operation {
    return this.#chooser.newKey()
  }

  /** The node is ended inside these operations, starts again, and is where it must be. */
  async round(operations: readonly Operation[], strike: Strike): Promise<void> {
    const { client, started } = this.running()
    this.#acknowledged.push([])
    const asked = operations.map((operation) => this.#ask(client, operation))
    const how = await strike({ client, started, asked })
    await started.ended
    await Promise.all(asked.map(({ ended }) => ended))
    const about = `${JSON.stringify(operations)} ${how}`
    this.#t.same(
      asked.flatMap(({ failure }) => failure ?? []),
      [],
      about,
    )
    await this.start()
    await this.settle(pendingOf(asked), about)
    this.checkDisk(about)
  }

  /** The node goes on; what it has refused may be done or not, and what is, stays. */
  async refusedRound(operation: Operation, about: string): Promise<Asked> {
    this.#acknowledged.push([])
    this.#hasGaps = true
    const asked = this.#ask(this.running().client, operation)
    await asked.ended
    await this.settle(pendingOf([asked]), about)
    return asked
  }

  /** Where the node is, is what all that happened leads to. */
  async settle(pending: readonly Operation[], about: string): Promise<void> {
    await this.#adopt(pending, about)
    await this.#checkAnswers(about)
  }

  checkDisk(about: string): void {
    this.#t.same(readdirSync(join(this.home, 'staging')), [], about)
    this.#t.same(generationsOnDisk(this.home), generationsOf(this.#state), about)
  }

  async stop(): Promise<void> {
    const { started } = this.running()
    started.child.kill('SIGTERM')
    this.#t.equal(await started.ended, 0)
  }

  /** Stops in order and reads the journal: it must explain all that happened. */
  async end(): Promise<void> {
    await this.stop()
    const home = await Home.open(this.home)
    const store = await LmdbStore.open(home.state)
    const journal = (await store.journal(100_000)).reverse()
    await store.close()
    await home.close()
    const numbers = journal.map(({ seq }) => seq)
    const full = numbers.map((_, i) => i + 1)
    if (!this.#hasGaps) this.#t.same(numbers, full, 'one number after the other')
    const told = journal.flatMap((entry) => operationOf(entry) ?? [])
    this.#t.same(told.reduce(applied, EMPTY), this.#state, 'the journal leads to the state')
    const texts = told.map(textOf)
    for (const group of this.#acknowledged) {
      const places = group.map((operation) => texts.indexOf(textOf(operation)))
      this.#t.notOk(places.includes(-1), `the journal holds ${JSON.stringify(group)}, in order`)
      texts.splice(0, Math.max(-1, ...places) + 1)
    }
  }

  running() {
    if (this.#started === null || this.#client === null) throw new Error('no node runs')
    return { started: this.#started, client: this.#client }
  }

  async start(): Promise<void> {
    const started = this.launch()
    const ready = await readyLine(started)
    const adminKey = this.#env['SWITCHYARD_ADMIN_KEY'] ?? ''
    const node = { ...ready, adminKey, home: this.home, log: started.log }
    this.#client = new Client({ ...node, stop: async () => 0 })
    this.#started = started
  }

  /** A node that may never be ready. */
  launch(): StartedProcess {
    return startProcess(this.#t, { home: this.home, env: this.#env })
  }

  /** Not to be struck: must succeed. */
  async #do(operation: Operation): Promise<void> {
    this.#acknowledged.push([])
    const asked = this.#ask(this.running().client, operation)
    await asked.ended
    if (!asked.answered) throw new Error(`${JSON.stringify(operation)}: ${asked.failure}`)
  }

  #ask(client: Client, operation: Operation): Asked {
    const startMs = nowMs()
    const reply = perform(client, operation, this.#keyIds)
    const ended = reply.then(
      ({ status, body }) => {
        if (status >= 300) asked.failure = `${status} ${JSON.stringify(body)}`
        asked.answered = status < 300
        if (!asked.answered) return
        this.#tookMs.set(operation.kind, nowMs() - startMs)
        if (operation.kind === 'createKey') {
          this.#secrets.set(operation.label, body.key)
          this.#keyIds.set(operation.label, body.id)
        }
        this.#acknowledge(operation)
      },
      // The connection broke: nobody knows.
      () => {},
    )
    const asked: Asked = { operation, answered: false, failure: null, ended }
    return asked
  }

  #acknowledge(operation: Operation): void {
    this.#state = applied(this.#state, operation)
    this.#acknowledged.at(-1)?.push(operation)
  }

  #knownKeys(): string[] {
    return this.#state.keys.filter((label) => this.#secrets.has(label))
  }

  /** Where the node is must be explained; from here on it is what counts. */
  async #adopt(pending: readonly Operation[], about: string): Promise<void> {
    const found = await stateOf(this.running().client)
    const possible = outcomes(this.#state, pending)
    const explained = possible.some((one) => JSON.stringify(one) === JSON.stringify(found))
    this.#t.ok(explained, about, { found, possible })
    for (const operation of pending) {
      const isDone = JSON.stringify(applied(found, operation)) === JSON.stringify(found)
      this.undecided[isDone ? 'done' : 'notDone'] += 1
    }
    this.#state = found
    // An import that nobody was told of is whole: it can be switched to.
    for (const operation of pending) {
      if (operation.kind !== 'importGeneration') continue
      const { service, generation } = operation
      if (found.services[service]?.generations.includes(generation) !== true) continue
      await this.#do({ kind: 'switchGeneration', service, generation })
    }
  }

  async #checkAnswers(about: string): Promise<void> {
    for (const [service, { enabled, mapping }] of Object.entries(this.#state.services)) {
      if (service === GUARD) continue
      const { status, body } = await this.#predict(service)
      const active = Object.keys(mapping)
      const wanted = enabled && active.length > 0 ? 200 : 503
      this.#t.equal(status, wanted, `${service} ${JSON.stringify(body)} ${about}`)
      if (wanted !== 200) continue
      const values = active.map((id) => ROW_SUM * Number(id.slice(1)))
      const isRight = values.includes(body.result.prediction)
      this.#t.ok(isRight, `${service} answers by ${active}; ${about}`, { found: body.result })
    }
    for (const { kind, ...gone } of this.#acknowledged.slice(-TRIED_MAX).flat()) {
      if (kind !== 'deleteService' || !('service' in gone)) continue
      this.#t.equal((await this.#predict(gone.service)).status, 404, about)
    }
    const { client } = this.running()
    for (const [label, secret] of [...this.#secrets].slice(-TRIED_MAX)) {
      const headers = { authorization: `Bearer ${secret}` }
      const { status } = await client.query(`${GUARD}/p/predict`, ROW, headers)
      this.#t.equal(status, this.#state.keys.includes(label) ? 200 : 401, `${label}; ${about}`)
    }
  }

  #predict(service: string) {
    return this.running().client.query(`${service}/p/predict`, ROW)
  }
}

function pendingOf(asked: readonly Asked[]): Operation[] {
  return asked.filter(({ answered }) => !answered).map(({ operation }) => operation)
}

function textOf(operation: Operation): string {
  return JSON.stringify(Object.entries(operation).sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Until none of the node's processes is left. */
export async function killAll(started: StartedProcess): Promise<void> {
  // First those whose ids are known at once; then whatever else there is, a forge for one.
  started.child.kill('SIGKILL')
  for (let left = started.processes(); left.length > 0; left = started.processes()) {
    for (const pid of left) kill(pid)
    await sleep(1)
  }
  await started.ended
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself.
  }
}
