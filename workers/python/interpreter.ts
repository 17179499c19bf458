/** The interpreter of the node, or the sentence that says how to get one. */

import { AppError } from '../../core/base/errors.ts'
import type { RuntimeSettings } from '../../core/config/runtimes.ts'

export function interpreter({ python }: RuntimeSettings): string {
  if (python !== null) return python
  const detail =
    'this bundle needs Python 3: install it with "apt-get install python3", or name an ' +
    'interpreter with --python'
  throw new AppError('ERR_INTERPRETER_MISSING', detail)
}
