/** An endpoint of an ONNX model: what its file says, and what a sample adds. */

import { basename, dirname, join, posix, resolve } from 'node:path'
import type { DraftSample } from '../../../workers/protocol.ts'
import type { Call } from '../command.ts'
import { type Drafting, draftOf } from './drafting.ts'
import { endpointId, type Part, pathInBundle, predictionGiven } from './part.ts'

export async function modelPart(
  call: Call,
  drafting: Drafting,
  { model, sample, scratch }: { model: string; sample: DraftSample | null; scratch: string },
): Promise<Part> {
  const { flags } = call
  const source = resolve(model)
  const place = pathInBundle(call, source)
  const inFolder = (path: string): string => posix.join(posix.dirname(place), path)
  const name = basename(source)
  const id = endpointId(flags, model)
  const prediction = predictionGiven(flags)
  const given = prediction === null ? {} : { prediction }
  const draft = await draftOf(
    drafting,
    {
      kind: 'model',
      model: source,
      endpoint: { id, type: 'STD_PREDICTION', model: name, ...given },
      sample,
      scratch,
    },
    { file: source },
  )
  const { classes, features, row, rowOf } = draft
  const query = row === null ? null : { name: rowOf ?? 'a made-up row', q: { features: row } }
  return {
    endpoint: {
      id,
      type: 'STD_PREDICTION',
      model: place,
      prediction: draft.prediction,
      ...(classes === null ? {} : { classes }),
      ...(features === null ? {} : { features }),
      ...(query === null ? {} : { testQueries: [query] }),
    },
    files: draft.files.map((path) => ({
      source: join(dirname(source), path),
      path: inFolder(path),
    })),
    about: `${draft.prediction.toLowerCase().replaceAll('_', ' ')} of ${aboutFeatures(features)}`,
    notes: draft.notes,
  }
}

function aboutFeatures(features: readonly unknown[] | null): string {
  if (features === null) return 'what the model takes'
  return features.length === 1 ? '1 feature' : `${features.length} features`
}
