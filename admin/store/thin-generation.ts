/**
 * Records of generations of which plan and report, nearly all there is, are read from their text
 * when somebody asks: of ten generations of a service one answers, and the others are looked at
 * when an operator does.
 */

import type { ContentFile } from '../../core/bundle/content.ts'
import type { ForgeReport, GenerationPlan } from '../../core/bundle/plan.ts'
import type { EndpointRecord, GenerationRecord } from './records.ts'

/** What a generation needs beside its files; asked of all of them at once, so it is kept. */
export interface Needs {
  /** A compiled form may be made of one of its models. */
  readonly hasWeights: boolean
  /** Names of Python environments. */
  readonly environments: readonly string[]
}

const NOTHING: Needs = Object.freeze({ hasWeights: false, environments: [] })

export class ThinGeneration implements GenerationRecord {
  readonly serviceId: string
  readonly id: string
  readonly sha256: string
  readonly createdOn: number
  readonly bytes: number
  readonly sequence: number
  readonly needs: Needs
  readonly #read: () => GenerationRecord
  #known: WeakRef<GenerationRecord> | null = null

  /** `read` gives the same record again. */
  constructor(record: GenerationRecord, read: () => GenerationRecord) {
    this.serviceId = record.serviceId
    this.id = record.id
    this.sha256 = record.sha256
    this.createdOn = record.createdOn
    this.bytes = record.bytes
    this.sequence = record.sequence
    this.needs = neededBy(record.plan)
    this.#read = read
  }

  get plan(): GenerationPlan {
    return this.#whole().plan
  }

  get report(): ForgeReport {
    return this.#whole().report
  }

  get endpoints(): readonly EndpointRecord[] {
    return this.#whole().endpoints
  }

  get written(): readonly ContentFile[] {
    return this.#whole().written ?? []
  }

  toJSON(): GenerationRecord {
    return this.#whole()
  }

  #whole(): GenerationRecord {
    const known = this.#known?.deref()
    if (known !== undefined) return known
    const record = this.#read()
    this.#known = new WeakRef(record)
    return record
  }
}

export function needsOf(record: GenerationRecord): Needs {
  return record instanceof ThinGeneration ? record.needs : neededBy(record.plan)
}

function neededBy({ endpoints }: GenerationPlan): Needs {
  const hasWeights = endpoints.some(
    (one) => one.type === 'STD_PREDICTION' && one.prediction.weights !== undefined,
  )
  const environments = endpoints.flatMap((one) =>
    'python' in one ? (one.python.environment?.hash ?? []) : [],
  )
  return hasWeights || environments.length > 0 ? { hasWeights, environments } : NOTHING
}
