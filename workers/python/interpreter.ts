/** The interpreter of the node, or the sentence that says how to get one. */

import { AppError } from '../../core/base/errors.ts'
import type { RuntimeSettings } from '../../core/config/runtimes.ts'
import { isExecutable } from '../children/executable.ts'

export function interpreter({ python }: RuntimeSettings): string {
  if (python !== null && isExecutable(python)) return python
  const detail =
    python === null
      ? 'this bundle needs Python 3: install it with "apt-get install python3", or name an ' +
        'interpreter with --python'
      : 'this bundle needs Python 3, and what the node was given as --python is no program; ' +
        'health names it'
  throw new AppError('ERR_INTERPRETER_MISSING', detail)
}
