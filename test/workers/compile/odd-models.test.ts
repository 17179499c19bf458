/**
 * Goal: whatever the model, its compiled form answers bit by bit as the original, or there is none;
 * and no process ends over it.
 *
 * Method: models of odd shapes, made by their numbers, and those that lie on this machine, each
 * compiled in a child and held against the original there. EFFORT=10 takes 1,200 of the former. A
 * model that ends its process as it is, with inputs made up here, has no form to speak of.
 */

import { existsSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import t from 'tap'
import { type Compiled, CompilingChild, type ModelPlace } from '../../tools/compiling.ts'
import { effort, sayEffort } from '../../tools/effort.ts'
import { FAMILY_COUNT, oddModel } from '../../tools/odd-models.ts'
import { SHARED } from '../../tools/paths.ts'

const MODELS = effort(12 * FAMILY_COUNT, 1_200)
const FOUND_MAX = effort(150, Number.POSITIVE_INFINITY)
const CHILDREN = 2
/** Debian's package of ONNX's own test models. */
const DEBIAN = '/usr/share/libonnx-testdata'

interface Counts {
  compiled: number
  original: number
  crashed: number
  readonly reasons: Map<string, number>
  /** By name, so that a failure says which. */
  readonly crashes: string[]
}

async function compileAll(
  items: readonly string[],
  placeOf: (item: string, child: CompilingChild) => ModelPlace,
): Promise<Counts> {
  const counts: Counts = { compiled: 0, original: 0, crashed: 0, reasons: new Map(), crashes: [] }
  const waiting = [...items]
  const lane = async (): Promise<void> => {
    const child = new CompilingChild()
    try {
      for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
        count(counts, item, await child.compile(placeOf(item, child)))
      }
    } finally {
      await child.close()
    }
  }
  await Promise.all(Array.from({ length: CHILDREN }, lane))
  return counts
}

function count(counts: Counts, item: string, outcome: Compiled): void {
  const isOwnCrash = outcome.kind === 'crashed' && outcome.step === 'running the original'
  counts[isOwnCrash ? 'original' : outcome.kind] += 1
  if (outcome.kind === 'compiled') return
  const reason = outcome.kind === 'original' ? outcome.reason : `${outcome.how}: ${outcome.step}`
  if (outcome.kind === 'crashed' && !isOwnCrash) counts.crashes.push(`${item}: ${reason}`)
  else counts.reasons.set(reason, (counts.reasons.get(reason) ?? 0) + 1)
}

t.test('models of odd shapes', async (t) => {
  const names = Array.from({ length: MODELS }, (_, i) => String(i))
  const counts = await compileAll(names, (name, child) => {
    const { files } = oddModel(Number(name))
    return { directory: child.newPlace(files), model: 'model.onnx' }
  })
  const { compiled, original, crashed } = counts
  sayEffort({ models: MODELS, compiled, original, crashed })
  t.same(counts.crashes, [])
  t.equal(compiled + original, MODELS)
  t.same([...counts.reasons], [], 'every one of these is compiled')
})

t.test('models of others', { skip: SHARED === null && !existsSync(DEBIAN) }, async (t) => {
  const folders = [DEBIAN, ...(SHARED === null ? [] : [join(SHARED, 'models')])]
  const all = folders.filter(existsSync).flatMap(onnxFiles)
  const step = Math.max(1, Math.floor(all.length / FOUND_MAX))
  const some = all.filter((_, i) => i % step === 0)
  const counts = await compileAll(some, (path) => ({
    directory: dirname(path),
    model: basename(path),
  }))
  const { compiled, original, crashed } = counts
  sayEffort({ others: some.length, compiled, original, crashed })
  for (const [reason, count] of counts.reasons) t.comment(`${count} × ${reason}`)
  t.same(counts.crashes, [])
  t.ok(compiled > some.length / 2, 'most are compiled')
})

function onnxFiles(folder: string): string[] {
  const paths = readdirSync(folder, { recursive: true }).map(String)
  return paths
    .filter((path) => path.endsWith('.onnx'))
    .map((path) => join(folder, path))
    .sort()
}
