/** Rscript of the node, or the sentence that says how to get one. */

import { AppError } from '../../core/base/errors.ts'
import type { RuntimeSettings } from '../../core/config/runtimes.ts'
import { isExecutable } from '../children/executable.ts'

const HOW_TO_INSTALL =
  'this bundle needs R: install it with "apt-get install r-base-core", or name Rscript with ' +
  '--rscript'
const NO_PROGRAM =
  'this bundle needs R, and what the node was given as --rscript is no program; health names it'

export function rscript({ rscript: path }: RuntimeSettings): string {
  if (path !== null && isExecutable(path)) return path
  throw new AppError('ERR_INTERPRETER_MISSING', path === null ? HOW_TO_INSTALL : NO_PROGRAM)
}
