/**
 * Loads what ONNX Runtime wrote as it is and runs it, which may end this process: that is what its
 * parent looks at. Exit code 3: it cannot be loaded, or answers otherwise than the original.
 */

import { join } from 'node:path'
import { runMadeUp } from '../../workers/compile/feeds.ts'
import { Recorder } from '../../workers/compile/recorder.ts'
import { openCompiled, openModel } from '../../workers/onnx/session.ts'

/** Folder with `model.onnx`, and the written form `m.onnx` beside it. */
async function tryForm(folder: string): Promise<boolean> {
  const recorder = new Recorder(await openModel(join(folder, 'model.onnx')))
  await runMadeUp(recorder, [])
  const form = await openCompiled(join(folder, 'm.onnx'))
  return recorder.answered > 0 && (await recorder.difference(form)) === null
}

tryForm(process.argv[2] ?? '').then(
  (isSame) => process.exit(isSame ? 0 : 3),
  () => process.exit(3),
)
