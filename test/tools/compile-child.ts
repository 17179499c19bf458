/**
 * Compiles one model after the other as it is told, and says what became of each. When one ends the
 * process, whoever started it counts that and starts another.
 */

import { compileModel } from '../../workers/compile/compile.ts'
import type { CompileRequest } from '../../workers/protocol.ts'

process.on('message', (request: CompileRequest) => {
  void compileModel(request, (step) => process.send?.({ kind: 'step', step })).then((outcome) =>
    process.send?.(outcome),
  )
})
