/**
 * The forge without its one-bundle life: as many bundles as it is sent, one after the other, so
 * that thousands can be tried. What the real one tells its parent is told here for each; it may
 * crash or hang as that one may.
 */

import { AppError } from '../../core/base/errors.ts'
import { forge } from '../../workers/forge/forge.ts'
import type { ForgeRequest } from '../../workers/protocol.ts'

export interface Tried {
  /** `forged`, or the code of the refusal; null: something was thrown that is no refusal. */
  readonly code: string | null
  /** Reasons, or the stack of what was thrown. */
  readonly detail: string
}

async function tried(request: ForgeRequest): Promise<Tried> {
  try {
    const verdict = await forge(request, () => {})
    if (verdict.kind === 'refused') return { code: verdict.code, detail: JSON.stringify(verdict) }
    return { code: verdict.kind, detail: '' }
  } catch (error) {
    if (error instanceof AppError) return { code: error.code, detail: error.message }
    return { code: null, detail: error instanceof Error ? String(error.stack) : String(error) }
  }
}

process.on('disconnect', () => process.exit(0))
process.on('message', (request: ForgeRequest) => {
  void tried(request).then((outcome) => process.send?.(outcome))
})
