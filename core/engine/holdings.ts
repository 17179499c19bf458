/** The generations that a serving process knows, by service: nearly all have one or two. */

import type { GenerationRef } from '../base/ids.ts'
import type { Generation } from './generation.ts'

const NONE: readonly Generation[] = []

export class Holdings {
  readonly #byService = new Map<string, readonly Generation[]>()

  get({ serviceId, generationId }: GenerationRef): Generation | undefined {
    return this.of(serviceId).find(({ desired }) => desired.generationId === generationId)
  }

  /** The same array until one comes or goes. */
  of(serviceId: string): readonly Generation[] {
    return this.#byService.get(serviceId) ?? NONE
  }

  *values(): Generator<Generation> {
    for (const generations of this.#byService.values()) yield* generations
  }

  add(generation: Generation): void {
    const { serviceId } = generation.desired
    this.#byService.set(serviceId, [...this.of(serviceId), generation])
  }

  remove(generation: Generation): void {
    const { serviceId } = generation.desired
    const others = this.of(serviceId).filter((one) => one !== generation)
    if (others.length > 0) this.#byService.set(serviceId, others)
    else this.#byService.delete(serviceId)
  }
}
