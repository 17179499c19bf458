/** The hash of a model: of its own file and of the files that its weights are in. */

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { join, posix } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { modelFacts } from './zipmap.ts'

const READ_BYTES = 1024 * 1024

/** The model comes first; of the others the names count too, by which the model knows them. */
export async function modelHash(
  directory: string,
  [model = '', ...outside]: readonly string[],
): Promise<string> {
  const whole = createHash('sha256').update(await digestOf(join(directory, model)))
  for (const path of outside.toSorted()) {
    const name = JSON.stringify(posix.relative(posix.dirname(model), path))
    whole.update(`\n${name} ${await digestOf(join(directory, path))}`)
  }
  return whole.digest('hex')
}

/** Of a model that was checked before; null: it is none any more. */
export async function hashOnDisk(directory: string, model: string): Promise<string | null> {
  const facts = await modelFacts(join(directory, model))
  if (facts.kind === 'refused') return null
  const folder = posix.dirname(model)
  const outside = facts.externalFiles.map(({ path }) => posix.join(folder, path))
  return modelHash(directory, [model, ...outside])
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path, { highWaterMark: READ_BYTES }), hash)
  return hash.digest('hex')
}
