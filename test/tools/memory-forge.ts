/** A forge in memory: it finds in an archive what the archive says, and takes as long as told. */

import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Forge, ForgeListener, ForgeOutcome, ForgeTask } from '../../admin/contracts.ts'
import { contentSha256 } from '../../core/bundle/content.ts'
import type { GenerationPlan, WeightsPlan } from '../../core/bundle/plan.ts'
import { endpoint, generationPlan, prediction } from './plans.ts'
import { functionPlan } from './python-endpoints.ts'

/** The archive of these tests: JSON that says what a forge would find. */
export interface FakeBundle {
  readonly generationId?: string
  readonly content?: string
  /** It has an endpoint that is run by child processes. */
  readonly children?: true
  /** Its model is worth a compiled form. */
  readonly weights?: WeightsPlan
  readonly refuse?: Omit<Extract<ForgeOutcome, { kind: 'refused' }>, 'kind'>
}

export function bundle(content: FakeBundle): Buffer {
  return Buffer.from(JSON.stringify(content))
}

/** Answers what the archive says, and waits at the gate when there is one. */
export class MemoryForge implements Forge {
  gate: Promise<void> | null = null
  readonly requests: ForgeTask[] = []

  async run(
    request: ForgeTask,
    _archiveBytes: number,
    listener: ForgeListener,
  ): Promise<ForgeOutcome> {
    this.requests.push(request)
    listener.onPhase('loading', 'model.onnx', null)
    if (this.gate !== null) await this.gate
    const found: FakeBundle = JSON.parse(readFileSync(request.archive, 'utf8'))
    if (found.refuse !== undefined) return { kind: 'refused', ...found.refuse }
    const content = found.content ?? ''
    writeFileSync(join(request.directory, 'model.onnx'), content)
    const named = request.generationId ?? request.fileName?.replace(/\.zip$/, '') ?? 'unnamed'
    return {
      kind: 'forged',
      generationId: found.generationId ?? named,
      contentSha256: contentOf(content),
      plan: found.children === true ? WITH_CHILDREN : planOf(found),
      report: REPORT,
    }
  }
}

function contentOf(model: string): string {
  const sha256 = createHash('sha256').update(model).digest('hex')
  return contentSha256([{ path: 'model.onnx', size: Buffer.byteLength(model), sha256 }])
}

const KEYS = { authorization: { method: 'API_KEYS', keys: [] } } as const

function planOf({ weights }: FakeBundle): GenerationPlan {
  const given = weights === undefined ? {} : { weights }
  const model = { kind: 'RAW', model: 'model.onnx', ...given } as const
  return generationPlan([endpoint(prediction(model))], KEYS)
}

const WITH_CHILDREN = generationPlan([functionPlan()], KEYS)

const REPORT = {
  forgedOn: 1,
  durationMs: 1,
  peakMemoryBytes: 1,
  runtime: 'memory',
  files: 1,
  unpackedBytes: 1,
  endpoints: [],
}
