/**
 * Makes the compiled form of one model, and proves it: ONNX Runtime writes it, the repair makes it
 * safe, it is loaded as workers will, and every run of the original must come out of it again, bit
 * by bit. On any doubt there is none, and the original serves.
 */

import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { nowMs, wallMs } from '../../core/base/clock.ts'
import { COMPILED_DATA, COMPILED_MODEL } from '../../core/bundle/compiled.ts'
import { hashOnDisk } from '../forge/model-hash.ts'
import { noSpace } from '../forge/no-space.ts'
import { WEIGHT_BYTES_MIN } from '../forge/onnx-scan.ts'
import { WireError, WireFile, writePieces } from '../forge/onnx-wire.ts'
import { isOutOfMemory, shortReason } from '../forge/reasons.ts'
import { openCompiled, openModel, RUNTIME, writeCompiled } from '../onnx/session.ts'
import type { CompileMessage, CompileRequest, CompileStep } from '../protocol.ts'
import { UnfinishedForm } from './form.ts'
import { Layout } from './layout.ts'
import { prove } from './proof.ts'
import { Recorder } from './recorder.ts'
import { repairedModel } from './repair.ts'

type Outcome = Exclude<CompileMessage, { kind: 'step' }>

/** Never throws: what goes wrong is a reason for the original. */
export async function compileModel(
  request: CompileRequest,
  tell: (step: CompileStep) => void,
): Promise<Outcome> {
  const startMs = nowMs()
  let step: CompileStep | null = null
  const tellStep = (next: CompileStep): void => {
    step = next
    tell(next)
  }
  const form = new UnfinishedForm(request.folder, request.key)
  try {
    await form.make()
    const sha256 = await hashOnDisk(request.directory, request.model)
    if (sha256 !== request.sha256) {
      return { kind: 'original', reason: 'it is not as it was imported', lasting: false }
    }
    const recorder = await runOriginal(request, tellStep)
    const written = await write(request, form, { recorder, tell: tellStep })
    if (written !== null) return original(written)
    tellStep('loading')
    const compiled = await openCompiled(join(form.path, COMPILED_MODEL))
    try {
      tellStep('comparing')
      const difference = await recorder.difference(compiled)
      if (difference !== null) return original(difference)
    } finally {
      await compiled.release()
    }
    tellStep('keeping')
    const runs = recorder.answered
    const kept = { form: 'compiled', createdOn: wallMs(), runtime: RUNTIME, runs } as const
    const { files } = await form.finish(kept)
    const bytes = files.reduce((sum, { size }) => sum + size, 0)
    const peakMemoryBytes = process.resourceUsage().maxRSS * 1024
    const durationMs = Math.round(nowMs() - startMs)
    return { kind: 'compiled', bytes, runs, durationMs, peakMemoryBytes }
  } catch (error) {
    if (error instanceof Unproven) return original(error.message)
    return { kind: 'original', reason: shortReason(error), lasting: isLasting(error, step) }
  } finally {
    await form.discard()
  }
}

/** What the runtime cannot write, and what there is no room for, another day may have. */
function isLasting(error: unknown, step: CompileStep | null): boolean {
  if (error instanceof WireError) return true
  const isOfForm = step === 'loading' || step === 'comparing'
  return isOfForm && !noSpace(error) && !isOutOfMemory(error)
}

function original(reason: string): Outcome {
  return { kind: 'original', reason, lasting: true }
}

/** Nothing can be said of the model that the compiled form could be held against. */
class Unproven extends Error {}

/** Leaves no session behind: two of a large model at once would need the memory of both. */
async function runOriginal(
  request: CompileRequest,
  tell: (step: CompileStep) => void,
): Promise<Recorder> {
  tell('running the original')
  const model = await openModel(join(request.directory, request.model))
  try {
    const recorder = new Recorder(model)
    await prove(recorder, request)
    if (recorder.answered === 0) throw new Unproven('no inputs are known that the model takes')
    const difference = await recorder.difference(model)
    if (difference !== null) throw new Unproven(`the model answers by chance: ${difference}`)
    return recorder
  } finally {
    await model.release()
  }
}

interface Writing {
  readonly recorder: Recorder
  readonly tell: (step: CompileStep) => void
}

/** Null, or why the form is not worth it. */
async function write(
  request: CompileRequest,
  form: UnfinishedForm,
  { recorder, tell }: Writing,
): Promise<string | null> {
  tell('writing')
  const raw = join(form.scrap, COMPILED_MODEL)
  const rawData = join(form.scrap, COMPILED_DATA)
  await writeCompiled(join(request.directory, request.model), {
    model: raw,
    dataName: COMPILED_DATA,
    bytesMin: WEIGHT_BYTES_MIN,
  })
  const rawBytes = await stat(rawData).then(
    ({ size }) => size,
    () => 0,
  )
  if (rawBytes < request.weightBytesMin) return 'it has too few weights that can be shared'
  const layout = new Layout(rawBytes, request.bytesMax)
  const inputs = recorder.inputs.map(({ name }) => name)
  const file = new WireFile(raw)
  try {
    const pieces = repairedModel(file, { dataFile: COMPILED_DATA, inputs, layout })
    await writePieces(file, pieces, join(form.path, COMPILED_MODEL))
  } finally {
    file.close()
  }
  if (rawBytes > 0) await layout.copy(rawData, join(form.path, COMPILED_DATA))
  return null
}
