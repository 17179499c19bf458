/**
 * One data directory and the nodes that live on it one after the other, each killed in the middle
 * of something; beside them somebody who remembers all that was acknowledged, and what was pending,
 * and looks after every start whether the node is where that leads.
 */

import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import type { Test } from 'tap'
import { Home } from '../../admin/store/home.ts'
import { LmdbStore } from '../../admin/store/lmdb-store.ts'
import { nowMs } from '../../core/base/clock.ts'
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

/** In turn, so that every kind is killed as often as the others; an import has most steps. */
export const KINDS: readonly Kind[] = [
  'importGeneration',
  'switchGeneration',
  'deleteGeneration',
  'createKey',
  'importGeneration',
  'deleteService',
  'deleteKey',
  'disableService',
  'createService',
  'enableService',
]
/** The model of generation `g7` answers seven times the sum of this. */
export const ROW = { features: { f0: 1, f1: 2 } }
export const ROW_SUM = 3
/** Of imports, this share is killed in the last milliseconds, where files and record meet. */
const LATE_SHARE = 0.6
const COMMIT_MS = 25
/** Asks for a key, and is only there to try keys on. */
const GUARD = 'guard'

/** One operation under way, and what became of it. */
interface Asked {
  readonly operation: Operation
  answered: boolean
  failure: string | null
  readonly ended: Promise<void>
}

export class Life {
  readonly #t: Test
  readonly #random: Random
  readonly #home: string
  readonly #adminKey = randomBytes(18).toString('hex')
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
  #names = 0
  /** What became of operations that nobody was answered. */
  readonly undecided = { done: 0, notDone: 0 }
  #started: StartedProcess | null = null
  #client: Client | null = null

  constructor(t: Test, random: Random) {
    this.#t = t
    this.#random = random
    this.#home = freshHome(t)
  }

  async begin(): Promise<void> {
    await this.#start()
    await this.#do({ kind: 'createService', service: GUARD })
    const bundle = bundleOf(regressor(2), {}, { authorization: 'API_KEYS' })
    const imported = await this.#running().client.upload(GUARD, 'g1', bundle)
    this.#t.equal(imported.status, 200, JSON.stringify(imported.body))
    this.#acknowledged.push([])
    this.#acknowledge({ kind: 'importGeneration', service: GUARD, generation: 'g1' })
    await this.#do({ kind: 'switchGeneration', service: GUARD, generation: 'g1' })
    // Each kind once, for its duration.
    for (const kind of new Set(KINDS)) await this.#do(await this.#choose(kind))
  }

  async round(kind: Kind): Promise<void> {
    const operations = [await this.#choose(kind)]
    // Often a second one at the same time, of something else.
    const second = this.#random.next() < 0.4 ? this.#beside(kind) : null
    if (second !== null) operations.push(second)
    const [first] = operations
    const isLate = first?.kind === 'importGeneration' && this.#random.next() < LATE_SHARE
    const afterMs = isLate ? this.#random.next() * COMMIT_MS : this.#moment(kind)
    const { client, started } = this.#running()
    this.#acknowledged.push([])
    const asked = operations.map((operation) => this.#ask(client, operation))
    if (isLate) await committing(client, first)
    await elapsed(afterMs)
    await killAll(started)
    await Promise.all(asked.map(({ ended }) => ended))
    const failures = asked.flatMap(({ failure }) => failure ?? [])
    const pending = asked.filter(({ answered }) => !answered).map(({ operation }) => operation)
    const moment = `${afterMs.toFixed(1)} ms${isLate ? ' of its commit' : ''}`
    const about = `${JSON.stringify(operations)} killed after ${moment}`
    this.#t.same(failures, [], about)
    await this.#start()
    await this.#adopt(pending, about)
    await this.#checkAnswers(about)
    await this.#checkDisk(about)
  }

  /** Stops in order and reads the journal: it must explain all that happened. */
  async end(): Promise<void> {
    const { started } = this.#running()
    started.child.kill('SIGTERM')
    this.#t.equal(await started.ended, 0)
    const home = await Home.open(this.#home)
    const store = await LmdbStore.open(home.state)
    const journal = (await store.journal(100_000)).reverse()
    await store.close()
    await home.close()
    this.#t.same(
      journal.map(({ seq }) => seq),
      journal.map((_, i) => i + 1),
      'one number after the other',
    )
    const told = journal.flatMap((entry) => operationOf(entry) ?? [])
    this.#t.same(told.reduce(applied, EMPTY), this.#state, 'the journal leads to the state')
    const texts = told.map(textOf)
    for (const group of this.#acknowledged) {
      const places = group.map((operation) => texts.indexOf(textOf(operation)))
      this.#t.notOk(places.includes(-1), `the journal holds ${JSON.stringify(group)}, in order`)
      texts.splice(0, Math.max(-1, ...places) + 1)
    }
  }

  #running() {
    if (this.#started === null || this.#client === null) throw new Error('no node runs')
    return { started: this.#started, client: this.#client }
  }

  async #start(): Promise<void> {
    const env = { SWITCHYARD_ADMIN_KEY: this.#adminKey }
    const started = startProcess(this.#t, { home: this.#home, env })
    const ready = await readyLine(started)
    const node = { ...ready, adminKey: this.#adminKey, home: this.#home, log: started.log }
    this.#client = new Client({ ...node, stop: async () => 0 })
    this.#started = started
  }

  /** Not to be killed: must succeed. */
  async #do(operation: Operation): Promise<void> {
    this.#acknowledged.push([])
    const asked = this.#ask(this.#running().client, operation)
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

  /** Half of all moments near the end, where an import commits. */
  #moment(kind: Kind): number {
    const tookMs = this.#tookMs.get(kind) ?? 10
    const share = this.#random.next() < 0.5 ? 0 : 0.85
    return tookMs * (share + this.#random.next() * (1.1 - share))
  }

  #newName(prefix: string): string {
    this.#names += 1
    return `${prefix}${this.#names}`
  }

  /** An operation of this kind that is possible; what it needs is made first. */
  async #choose(kind: Kind): Promise<Operation> {
    const services = Object.entries(this.#state.services).filter(([id]) => id !== GUARD)
    switch (kind) {
      case 'createKey':
        return { kind, label: this.#newName('key-') }
      case 'deleteKey':
        return { kind, label: this.#random.pick(await this.#some(() => this.#knownKeys(), kind)) }
      case 'createService':
        return { kind, service: this.#newName('s') }
      case 'importGeneration': {
        if (services.length === 0) await this.#do(await this.#choose('createService'))
        const service = this.#random.pick(this.#serviceIds())
        return { kind, service, generation: this.#newName('g') }
      }
      case 'deleteService': {
        // Few at a time, and with generations in them if possible.
        const full = services.filter(([, { generations }]) => generations.length > 0)
        if (full.length === 0) await this.#do(await this.#choose('importGeneration'))
        const [service] = this.#random.pick(full.length > 0 ? full : services)
        return { kind, service }
      }
      case 'enableService':
      case 'disableService': {
        const candidates = () =>
          this.#serviceIds((one) => one.enabled === (kind !== 'enableService'))
        return { kind, service: this.#random.pick(await this.#some(candidates, kind)) }
      }
      default: {
        const [service = '', generation = ''] = this.#random
          .pick(await this.#some(() => this.#inactive(), kind))
          .split('/')
        return { kind, service, generation }
      }
    }
  }

  /** Candidates for `kind`; when there are none, something is made that is one. */
  async #some(candidates: () => string[], kind: Kind): Promise<string[]> {
    const makers: Partial<Record<Kind, Kind>> = {
      deleteKey: 'createKey',
      enableService: 'disableService',
      disableService: 'createService',
    }
    if (candidates().length === 0) {
      await this.#do(await this.#choose(makers[kind] ?? 'importGeneration'))
    }
    return candidates()
  }

  #beside(kind: Kind): Operation | null {
    if (kind === 'createKey' || kind === 'deleteKey') return null
    return { kind: 'createKey', label: this.#newName('key-') }
  }

  #serviceIds(fits: (state: State['services'][string]) => boolean = () => true): string[] {
    const all = Object.entries(this.#state.services)
    return all.filter(([id, state]) => id !== GUARD && fits(state)).map(([id]) => id)
  }

  #inactive(): string[] {
    return Object.entries(this.#state.services).flatMap(([service, { active, generations }]) =>
      generations
        .filter((id) => id !== active && service !== GUARD)
        .map((id) => `${service}/${id}`),
    )
  }

  #knownKeys(): string[] {
    return this.#state.keys.filter((label) => this.#secrets.has(label))
  }

  /** Where the node is must be explained; from here on it is what counts. */
  async #adopt(pending: readonly Operation[], about: string): Promise<void> {
    const { client } = this.#running()
    const found = await stateOf(client)
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
    for (const [service, { enabled, active }] of Object.entries(this.#state.services)) {
      if (service === GUARD) continue
      const { status, body } = await this.#predict(service)
      const wanted = enabled && active !== null ? 200 : 503
      this.#t.equal(status, wanted, `${service} ${JSON.stringify(body)} ${about}`)
      if (wanted !== 200) continue
      const value = ROW_SUM * Number(active?.slice(1))
      this.#t.equal(body.result.prediction, value, `${service} answers by ${active}; ${about}`)
    }
    for (const { kind, ...gone } of this.#acknowledged.slice(-10).flat()) {
      if (kind !== 'deleteService' || !('service' in gone)) continue
      this.#t.equal((await this.#predict(gone.service)).status, 404, about)
    }
    for (const [label, secret] of this.#secrets) {
      const { status } = await this.#predict(GUARD, { authorization: `Bearer ${secret}` })
      this.#t.equal(status, this.#state.keys.includes(label) ? 200 : 401, `${label}; ${about}`)
    }
  }

  async #predict(service: string, headers: Record<string, string> = {}) {
    return this.#running().client.query(`${service}/p/predict`, ROW, headers)
  }

  async #checkDisk(about: string): Promise<void> {
    this.#t.same(readdirSync(join(this.#home, 'staging')), [], about)
    this.#t.same(generationsOnDisk(this.#home), generationsOf(this.#state), about)
  }
}

function textOf(operation: Operation): string {
  return JSON.stringify(Object.entries(operation).sort(([a], [b]) => (a < b ? -1 : 1)))
}

type Import = Extract<Operation, { readonly generation: string }>

/** Until the forge has done its part and the rest begins. */
async function committing(client: Client, { service, generation }: Import): Promise<void> {
  const path = `/services/${service}/generations/${generation}`
  for (let phase = ''; phase !== 'committing'; ) {
    const { body } = await client.admin('GET', path)
    if (body.state === 'imported') return
    phase = body.phase ?? ''
  }
}

/** To a fraction of a millisecond, while answers are still read. */
async function elapsed(ms: number): Promise<void> {
  const endMs = nowMs() + ms
  if (ms > 3) await sleep(ms - 2)
  while (nowMs() < endMs) await turn()
}

async function killAll(started: StartedProcess): Promise<void> {
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
