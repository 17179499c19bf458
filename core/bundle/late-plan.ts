/**
 * Plans that are texts until somebody reads them. Of a thousand services that are deployed a few
 * are called, and a plan takes several times the memory of its text.
 */

import type { GenerationPlan } from './plan.ts'

export interface LatePlan {
  /** As JSON. */
  text(): string
  /** The same object as long as somebody has it. */
  read(): GenerationPlan
}

export type AnyPlan = GenerationPlan | LatePlan

export function readPlan(plan: AnyPlan): GenerationPlan {
  return 'read' in plan ? plan.read() : plan
}

export function planText(plan: AnyPlan): string {
  return 'read' in plan ? plan.text() : JSON.stringify(plan)
}

/** Keeps what was read only while others use it. */
export class PlanText implements LatePlan {
  readonly #text: string
  #plan: WeakRef<GenerationPlan> | null = null

  /** JSON of a GenerationPlan, by our own hand. */
  constructor(text: string) {
    this.#text = text
  }

  text(): string {
    return this.#text
  }

  read(): GenerationPlan {
    const known = this.#plan?.deref()
    if (known !== undefined) return known
    const plan: GenerationPlan = JSON.parse(this.#text)
    this.#plan = new WeakRef(plan)
    return plan
  }
}
