/**
 * `switchyard bundle build`: a folder becomes the archive that is uploaded. It is checked before it
 * gets its name, so an archive that is there is one that a node takes.
 */

import { open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { messageOf } from '../../../core/base/errors.ts'
import type { BundleFile } from '../../bundle/archive.ts'
import type { Call, CommandRow } from '../command.ts'
import { failed, wrongUsage } from '../failures.ts'
import { bytesText } from '../output.ts'
import { openWorkshop, TRIAL_OPTIONS, type Tried, tryBundle, type Workshop } from './forging.ts'
import { reportJson, reportText } from './report.ts'
import {
  type GivenSample,
  type Sampled,
  sampledText,
  samplesGiven,
  withSamples,
} from './sampling.ts'
import { withScratch } from './scratch.ts'
import { archiveName, type Folder, folderOf, pack } from './source.ts'

export const BUILD_COMMAND: CommandRow = {
  name: 'bundle build',
  about: 'makes the archive of a folder and checks it',
  details:
    'The same files give the same archive, byte for byte. Hidden files, __pycache__ and\n' +
    'archives at the top of the folder stay out. --sample puts percentiles of a binary\n' +
    'classification and rows for explanations into the archive; the folder stays as it is.',
  args: [{ name: '<directory>', about: 'folder with a service.json' }],
  options: [
    { name: '-o, --output <file>', about: 'the archive (default: named like the folder)' },
    {
      name: '--sample <file...>',
      about: 'CSV or JSON with rows; ENDPOINT=FILE where it is not clear',
    },
    { name: '--target <column>', about: 'column of the sample that is no feature' },
    ...TRIAL_OPTIONS,
  ],
  examples: [
    'bundle build wine -o v1.zip',
    'bundle build wine -o v2.zip --sample sample.csv --target cultivar',
  ],
  run: build,
}

async function build(call: Call): Promise<void> {
  const { flags, args, output } = call
  const folder = await folderOf(args[0] ?? '')
  const given = flags.text('output') ?? archiveName(folder)
  const target = resolve(given)
  await refuseForeign(target, given)
  const notes = folder.archives
    .filter((name) => join(folder.path, name) !== target)
    .map((name) => `${name} is an archive and was left out`)
  const files = folder.files.filter(({ source }) => source !== target)
  const samples = await samplesGiven(call, folder)
  await withScratch(async (scratch) => {
    const workshop = await openWorkshop(call, scratch)
    const sampled =
      samples.length === 0
        ? null
        : await sampleFirst(call, workshop, { folder, files, samples, fileName: basename(target) })
    const order = { files: sampled?.files ?? files, target }
    const { bytes, tried } = await buildArchive(call, order, workshop)
    const all = [...notes, ...(sampled?.notes ?? [])]
    const drafts = (sampled?.endpoints ?? []).map(({ endpoint, draft }) => ({ endpoint, ...draft }))
    for (const note of all) output.say(note)
    const facts = { archive: target, bytes, notes: all, samples: drafts, ...reportJson(tried) }
    output.answer(facts, () => {
      const head = [`wrote ${given}, ${bytesText(bytes)}`]
      head.push(...(sampled?.endpoints ?? []).map(sampledText))
      return [head.join('\n'), reportText(tried)].join('\n\n')
    })
  })
}

interface SampleFirst {
  readonly folder: Folder
  readonly files: readonly BundleFile[]
  readonly samples: readonly GivenSample[]
  readonly fileName: string
}

/** The rows are scored by what the forge makes of the bundle, as they will be when it serves. */
async function sampleFirst(
  call: Call,
  workshop: Workshop,
  { folder, files, samples, fileName }: SampleFirst,
): Promise<Sampled> {
  const archive = join(workshop.scratch, 'unsampled.zip')
  const packing = { target: archive, compress: false, label: 'reading' }
  const archiveBytes = await pack(call.shell, files, packing)
  const tried = await tryBundle(call, workshop, { archive, archiveBytes, fileName })
  return withSamples(call, workshop, { folder, files, samples, tried })
}

interface Order {
  readonly files: readonly BundleFile[]
  /** Absolute path. */
  readonly target: string
}

interface Built {
  readonly bytes: number
  readonly tried: Tried
}

async function buildArchive(
  call: Call,
  { files, target }: Order,
  workshop: Workshop,
): Promise<Built> {
  const fileName = basename(target)
  // Beside the target, so that it gets its name in one step.
  const archive = join(dirname(target), `.${fileName}.${process.pid}`)
  try {
    const packing = { target: archive, compress: true, label: `packing ${fileName}` }
    const bytes = await pack(call.shell, files, packing)
    const tried = await tryBundle(call, workshop, { archive, archiveBytes: bytes, fileName })
    await rename(archive, target)
    return { bytes, tried }
  } finally {
    await rm(archive, { force: true })
  }
}

const ZIP_START = Buffer.from('PK')

/** An archive is made anew; what is anything else was not meant. */
async function refuseForeign(target: string, given: string): Promise<void> {
  const start = await startOf(target).catch((error: unknown) => {
    throw wrongUsage(`--output ${given} cannot be used: ${messageOf(error)}`)
  })
  if (start === null || start.equals(ZIP_START)) return
  throw failed(`${given} is there and is no archive: nothing was overwritten`)
}

/** Null: there is no such file. */
async function startOf(path: string): Promise<Buffer | null> {
  const file = await open(path).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw error
  })
  if (file === null) return null
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(2), 0, 2, 0)
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}
