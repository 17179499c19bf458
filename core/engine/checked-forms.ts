/**
 * Shared memory for the threads of this process, one piece for each compiled form that any of them
 * may load: the first to open a form reads all of it, and the others learn the outcome there.
 */

import { compiledKey } from '../bundle/compiled.ts'
import type { GenerationPlan } from '../bundle/plan.ts'
import type { CompiledSettings } from '../config/runtimes.ts'

/** See workers/onnx/checked-form.ts. */
const CELL_BYTES = 16

export class CheckedForms {
  readonly #settings: CompiledSettings | null
  readonly #cells = new Map<string, SharedArrayBuffer>()

  constructor(settings: CompiledSettings | null) {
    this.#settings = settings
  }

  /** By key, those of the models of one generation. */
  of(plan: GenerationPlan): Record<string, SharedArrayBuffer> {
    const settings = this.#settings
    if (settings === null) return {}
    const keys = plan.endpoints.flatMap((one) => {
      const weights = one.type === 'STD_PREDICTION' ? one.prediction.weights : undefined
      return weights === undefined ? [] : [compiledKey(settings.machine, weights.sha256)]
    })
    return Object.fromEntries(keys.map((key) => [key, this.#cell(key)]))
  }

  #cell(key: string): SharedArrayBuffer {
    const cell = this.#cells.get(key) ?? new SharedArrayBuffer(CELL_BYTES)
    this.#cells.set(key, cell)
    return cell
  }
}
