/** Which draft answers which question: by its kind, so that no more is loaded than it takes. */

import { assertNever } from '../../core/base/assert.ts'
import type { Draft, DraftRequest } from '../protocol.ts'

/** Told while it goes on; `done` is a share of 1, null where nobody can say. */
export type Say = (label: string, done: number | null) => void

export async function draft(request: DraftRequest, say: Say): Promise<Draft> {
  switch (request.kind) {
    case 'model': {
      const { draftModel } = await import('./model.ts')
      return draftModel(request, say)
    }
    case 'columns': {
      const { draftColumns } = await import('./columns.ts')
      return draftColumns(request.file, say)
    }
    case 'code': {
      const { draftCode } = await import('./code.ts')
      return draftCode(request)
    }
    case 'statement': {
      const { draftStatement } = await import('./statement.ts')
      return draftStatement(request)
    }
    case 'sample': {
      const { draftSample } = await import('./sample.ts')
      return draftSample(request, say)
    }
    default:
      return assertNever(request)
  }
}
