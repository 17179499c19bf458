/**
 * Compiled forms of models: which generations want one, which of them get it, and when it goes.
 *
 * A form belongs to no generation: all whose model is the same share it. It is made when a bundle
 * is imported, and in the background where it is missing: after a change of the processor or of
 * ONNX Runtime, or when a serving process found it damaged. Without it the original serves, so what
 * is short (disk, memory, room for forms) is a line in the log and nothing more.
 */

import { freemem } from 'node:os'
import { nowMs, wallMs } from '../../core/base/clock.ts'
import { messageOf } from '../../core/base/errors.ts'
import type { Logger } from '../../core/base/logger.ts'
import { type CompiledRecord, compiledBytes, compiledKey } from '../../core/bundle/compiled.ts'
import type { GenerationPlan, OnnxEndpointPlan, WeightsPlan } from '../../core/bundle/plan.ts'
import type { CompiledSettings } from '../../core/config/runtimes.ts'
import type { CompileOutcome, CompileTask } from '../contracts.ts'
import { FormStore } from '../store/form-store.ts'

/** Packed weights take up to this much of the disk beside the plain ones; measured: 2.0. */
const FORM_FACTOR = 2.2
/** What ONNX Runtime writes and what is made of it lie side by side for a while. */
const DISK_FACTOR = 2 * FORM_FACTOR
/** Measured: 2.7. */
const MEMORY_FACTOR = 3
const MIB = 1024 * 1024
/** What was short may not be any more. */
const RETRY_MS = 3_600_000
/** A form may be so large, and beyond it in proportion to its weights, up to the most. */
const FORM_BYTES_MIN = 64 * MIB
const FORM_BYTES_MAX = 4096 * MIB
const FORM_FACTOR_MAX = 4

export interface CompiledFormsOptions {
  readonly settings: CompiledSettings
  /** Of all forms together. */
  readonly bytesMax: number
  readonly weightBytesMin: number
  readonly compile: (task: CompileTask) => Promise<CompileOutcome>
  readonly logger: Logger
}

/** A generation whose models are to be compiled. */
export interface Source {
  /** Where its files are. */
  readonly directory: string
  readonly plan: GenerationPlan
}

export interface Making {
  /** Bytes that may be written. */
  readonly diskBytes: number
  /** Forms of these keys stay, whatever is short. */
  readonly needed: ReadonlySet<string>
  readonly tell: (detail: string) => void
}

export interface FormView {
  readonly endpointId: string
  readonly form: 'compiled' | 'original'
  /** Why it is the original; null: it is not. */
  readonly reason: string | null
  /** Of the form, on the disk. */
  readonly bytes: number
}

interface Wanted {
  readonly key: string
  readonly model: string
  readonly weights: WeightsPlan
  readonly endpoints: readonly OnnxEndpointPlan[]
}

export class CompiledForms {
  readonly #options: CompiledFormsOptions
  readonly #store: FormStore
  readonly #records = new Map<string, CompiledRecord>()
  /** Why it could not be made a while ago. */
  readonly #failures = new Map<string, { readonly reason: string; readonly atMs: number }>()

  constructor(options: CompiledFormsOptions) {
    this.#options = options
    this.#store = new FormStore(options.settings.folder)
  }

  /** What is on the disk now: serving processes put what they find damaged out of the way. */
  async look(): Promise<void> {
    this.#records.clear()
    for (const { key, record } of await this.#store.list()) {
      if (key !== null && record !== null) this.#records.set(key, record)
    }
  }

  keysOf(plan: GenerationPlan): readonly string[] {
    return this.#wanted(plan).map(({ key }) => key)
  }

  /** Keys of forms that are there, by endpoint. */
  compiledOf(plan: GenerationPlan): ReadonlyMap<string, string> {
    const there = this.#wanted(plan).filter(
      ({ key }) => this.#records.get(key)?.form === 'compiled',
    )
    return new Map(there.flatMap(({ key, endpoints }) => endpoints.map(({ id }) => [id, key])))
  }

  /** True when it was neither made nor tried. */
  isMissing(plan: GenerationPlan): boolean {
    return this.keysOf(plan).some((key) => {
      const failure = this.#failures.get(key)
      const isSettled = failure !== undefined && nowMs() - failure.atMs < RETRY_MS
      return !this.#records.has(key) && !isSettled
    })
  }

  /** Makes the forms that a generation lacks; nobody else may make any meanwhile. Never throws. */
  async make(source: Source, making: Making): Promise<void> {
    for (const wanted of this.#wanted(source.plan)) {
      const { key, model } = wanted
      if ((await this.#known(key)) !== null) continue
      making.tell(model)
      const outcome = await this.#tryOne(source, wanted, making).catch((error: unknown) => ({
        kind: 'original' as const,
        reason: messageOf(error),
        lasting: false,
      }))
      await this.#settle(wanted, outcome)
    }
  }

  /** Those that no generation of these keys needs, and what was left unfinished; their names. */
  async removeUnused(used: ReadonlySet<string>): Promise<string[]> {
    const removed: string[] = []
    for (const { name, key } of await this.#store.list()) {
      if (key !== null && used.has(key)) continue
      if (await this.#remove(name)) removed.push(name)
    }
    for (const key of this.#failures.keys()) if (!used.has(key)) this.#failures.delete(key)
    return removed
  }

  /** It ended a process that ran it, so it is not used again; false: there was none. */
  async distrust(plan: GenerationPlan, reason: string): Promise<boolean> {
    let had = false
    for (const key of this.keysOf(plan)) {
      if ((await this.#known(key))?.form !== 'compiled') continue
      had = true
      await this.#remove(key)
      await this.#note(key, reason)
    }
    return had
  }

  view(plan: GenerationPlan): readonly FormView[] {
    const keys = new Map(
      this.#wanted(plan).flatMap(({ key, endpoints }) => endpoints.map(({ id }) => [id, key])),
    )
    return onnxEndpoints(plan).map(({ id: endpointId }) => {
      const key = keys.get(endpointId)
      const record = key === undefined ? undefined : this.#records.get(key)
      if (record?.form === 'compiled') {
        return { endpointId, form: 'compiled', reason: null, bytes: compiledBytes(record) }
      }
      const reason =
        key === undefined ? FEW_WEIGHTS : (record?.reason ?? this.#failures.get(key)?.reason)
      return { endpointId, form: 'original', reason: reason ?? NOT_YET, bytes: 0 }
    })
  }

  #wanted(plan: GenerationPlan): Wanted[] {
    const wanted = new Map<string, Wanted>()
    for (const endpoint of onnxEndpoints(plan)) {
      const { model, weights } = endpoint.prediction
      if (weights === undefined) continue
      const key = compiledKey(this.#options.settings.machine, weights.sha256)
      const endpoints = [...(wanted.get(key)?.endpoints ?? []), endpoint]
      wanted.set(key, { key, model, weights, endpoints })
    }
    return [...wanted.values()]
  }

  async #known(key: string): Promise<CompiledRecord | null> {
    const record = await this.#store.read(key)
    if (record === null) this.#records.delete(key)
    else this.#records.set(key, record)
    return record
  }

  async #tryOne(source: Source, wanted: Wanted, making: Making): Promise<CompileOutcome> {
    const { weightBytesMin, settings } = this.#options
    const { key, model, weights, endpoints } = wanted
    const { directory, plan } = source
    const room = await this.#makeRoom(weights.bytes * FORM_FACTOR, making.needed)
    const short = whyNot(weights.bytes, room, making.diskBytes)
    if (short !== null) return { kind: 'original', reason: short, lasting: false }
    await this.#store.make()
    return this.#options.compile({
      ...{ directory, model, endpoints, key, weightBytesMin },
      tables: plan.tables ?? [],
      folder: settings.folder,
      sha256: weights.sha256,
      bytesMax: Math.min(
        ...[room, FORM_BYTES_MAX],
        Math.max(FORM_BYTES_MIN, FORM_FACTOR_MAX * weights.bytes),
      ),
      modelBytes: weights.bytes,
    })
  }

  /** Removes what nobody needs now, oldest first; how much room there is then. */
  async #makeRoom(wantedBytes: number, needed: ReadonlySet<string>): Promise<number> {
    const forms = await this.#store.list()
    let room = this.#options.bytesMax
    for (const { record } of forms) room -= record === null ? 0 : compiledBytes(record)
    const idle = forms.filter(({ key }) => key === null || !needed.has(key))
    idle.sort((a, b) => (a.record?.createdOn ?? 0) - (b.record?.createdOn ?? 0))
    for (const { name, record } of idle) {
      if (room >= wantedBytes) break
      const bytes = record === null ? 0 : compiledBytes(record)
      if (bytes === 0 && record !== null) continue
      if (await this.#remove(name)) room += bytes
    }
    return room
  }

  async #settle({ key, model }: Wanted, outcome: CompileOutcome): Promise<void> {
    const { logger } = this.#options
    if (outcome.kind === 'compiled') {
      this.#failures.delete(key)
      await this.#known(key)
      const { bytes, runs, durationMs, peakMemoryBytes } = outcome
      const fields = { model, key, bytes, runs, ms: durationMs, peakMemoryBytes }
      logger.info(fields, 'a model was compiled')
      return
    }
    const { reason, lasting } = outcome
    logger.info({ model, key, reason }, 'a model is not compiled: the original serves')
    if (lasting) await this.#note(key, reason)
    else this.#failures.set(key, { reason, atMs: nowMs() })
  }

  async #note(key: string, reason: string): Promise<void> {
    const record = { form: 'original', createdOn: wallMs(), reason } as const
    this.#records.set(key, record)
    try {
      await this.#store.make()
      await this.#store.note(key, record)
    } catch (error) {
      // It is tried again after the next start.
      const fields = { key, reason: messageOf(error) }
      this.#options.logger.warn(fields, 'why a model is not compiled cannot be kept')
    }
  }

  async #remove(name: string): Promise<boolean> {
    const { logger } = this.#options
    try {
      await this.#store.drop(name)
      this.#records.delete(name)
      // What had no room may have some now.
      this.#failures.clear()
      logger.info({ name }, 'removed a compiled form that nobody needs')
      return true
    } catch (error) {
      logger.warn({ name, reason: messageOf(error) }, 'a compiled form stays behind')
      return false
    }
  }
}

const FEW_WEIGHTS = 'its weights are less than 1 MiB'
const NOT_YET = 'it is not compiled yet'

function onnxEndpoints(plan: GenerationPlan): OnnxEndpointPlan[] {
  return plan.endpoints.filter((endpoint) => endpoint.type === 'STD_PREDICTION')
}

function whyNot(weightBytes: number, room: number, diskBytes: number): string | null {
  const formBytes = Math.ceil(FORM_FACTOR * weightBytes)
  if (formBytes > FORM_BYTES_MAX) return `it would take more than ${FORM_BYTES_MAX} bytes`
  if (room < formBytes) {
    return `it needs ${formBytes} bytes of compiledBytesMax, of which ${Math.max(0, room)} are left`
  }
  const disk = Math.ceil(DISK_FACTOR * weightBytes)
  if (diskBytes < disk) return `it needs ${disk} bytes of the disk, ${diskBytes} are free`
  const memory = Math.ceil(MEMORY_FACTOR * weightBytes)
  // Of the container, where there is one; not in Node before 20.13.
  const free = process.availableMemory?.() ?? freemem()
  if (free < memory) return `compiling needs ${memory} bytes of memory, ${free} are free`
  return null
}
