/**
 * `switchyard bundle init`: a folder with a `service.json` out of a model, code, a statement or a
 * table. What a file says itself is read from it; what only its author knows is an option, or is
 * left out and said.
 */

import { resolve } from 'node:path'
import type { DraftSample } from '../../../workers/protocol.ts'
import { runtimeSettings } from '../../runtimes.ts'
import type { Call, CommandRow } from '../command.ts'
import { wrongUsage } from '../failures.ts'
import { nodeSettings } from '../settings.ts'
import { codePart } from './code-part.ts'
import { type Drafting, sizeOfFile } from './drafting.ts'
import { addPart } from './folder.ts'
import { modelPart } from './model-part.ts'
import type { Part } from './part.ts'
import { folderIn, withScratch } from './scratch.ts'
import { lookupPart, queryPart } from './table-part.ts'

export const INIT_COMMAND: CommandRow = {
  name: 'bundle init',
  about: 'makes the folder of a bundle: service.json, and the files that it names',
  details:
    'Give one of --model, --python, --r, --sql, --sql-file and --table. On a folder that has a\n' +
    'service.json the endpoint is added to it. Models are loaded and run once, in a process of\n' +
    'their own; code is parsed and not run. Nothing is overwritten without --force.',
  args: [{ name: '<directory>', about: 'the folder; made where there is none' }],
  options: [
    { name: '--model <file>', about: 'ONNX model' },
    { name: '--python <file>', about: 'Python file with a function or a predictor' },
    { name: '--r <file>', about: 'R file with a function; with --prediction it predicts' },
    { name: '--sql <statement>', about: 'SQL, ? for parameters; over --table or --connection' },
    { name: '--sql-file <file>', about: 'file that holds it' },
    { name: '--table <file...>', about: 'CSV or Parquet: rows by --key, or tables of the SQL' },
    { name: '--key <column...>', about: 'columns by which rows of the table are looked up' },
    { name: '--connection <name>', about: 'database of the node that the SQL is for' },
    { name: '--dialect <name>', about: 'of that database: postgresql (default) or mysql' },
    { name: '--parameters <name...>', about: 'names of the ?, in order; name:type says its type' },
    { name: '--function <name>', about: 'which function of the file' },
    { name: '--class <name>', about: 'which class of the file' },
    { name: '--prediction <kind>', about: 'binary_classification, multiclass, regression, raw' },
    { name: '--sample <file>', about: 'CSV or JSON: names and types of features, a test query' },
    { name: '--target <column>', about: 'column of the sample that is no feature' },
    { name: '--endpoint <id>', about: 'id of the endpoint (default: name of what it is made of)' },
    { name: '--service <id>', about: 'the only service that the bundle is for' },
    { name: '--public', about: 'the service opens to everybody, not to keys only' },
    { name: '--interpreter <program>', about: 'Python or Rscript that reads the file' },
    { name: '--config <file>', about: 'config file of a node: its limits of time and memory' },
    { name: '--force', about: 'overwrite files and an endpoint of the same id' },
  ],
  examples: [
    'bundle init wine --model model.onnx --endpoint cultivar --sample sample.csv',
    'bundle init shop --python shipping.py --function quote --public',
    'bundle init shop --table customers.csv --key id',
    `bundle init shop --sql 'SELECT * FROM orders WHERE customer = ?' --table orders.csv`,
  ],
  run: init,
}

async function init(call: Call): Promise<void> {
  const [directory = ''] = call.args
  const sample = await sampleOf(call)
  const part = await partOf(call, sample)
  const added = await addPart(call, { directory, part })
  const next = `switchyard bundle build ${shellWord(directory)} -o v1.zip`
  const answer = { ...added, endpoint: part.endpoint, notes: part.notes, next }
  call.output.answer(answer, () => {
    const lines = added.files.map(({ path, copied }) => `${copied ? 'copied' : 'uses'} ${path}`)
    return [
      `${added.created ? 'wrote' : 'added to'} ${added.manifest}:`,
      `  ${part.endpoint['id']}, ${part.endpoint['type']}: ${part.about}`,
      ...lines,
      ...part.notes.map((note) => `note: ${note}`),
      `next: ${next}`,
    ].join('\n')
  })
}

function shellWord(text: string): string {
  return /^[\w./~-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

async function sampleOf({ flags }: Call): Promise<DraftSample | null> {
  const [given, target] = [flags.text('sample'), flags.text('target')]
  if (given === null) {
    if (target !== null) throw wrongUsage('--target names a column of --sample, which is not given')
    return null
  }
  if (!/\.(?:csv|tsv|json)$/i.test(given)) {
    throw wrongUsage(`--sample ${given}: a sample is a .csv, .tsv or .json file`)
  }
  await sizeOfFile(given, `--sample ${given}`)
  return { file: resolve(given), target }
}

const SOURCES = ['model', 'python', 'r', 'sql', 'sqlFile'] as const

async function partOf(call: Call, sample: DraftSample | null): Promise<Part> {
  const { shell, flags } = call
  const config = nodeSettings(shell, flags, ['config'])
  const drafting: Drafting = { shell, config }
  const given = SOURCES.filter((name) => flags.text(name) !== null)
  const tables = flags.texts('table')
  const [source] = given
  if (given.length > 1 || (source === undefined && tables.length !== 1)) {
    throw wrongUsage('give one of --model, --python, --r, --sql, --sql-file and --table')
  }
  if (source === undefined) return lookupPart(call, drafting, tables[0] ?? '')
  if (tables.length > 0 && !source.startsWith('sql')) {
    throw wrongUsage(`--table does not go with --${source}`)
  }
  if (source === 'sql' || source === 'sqlFile') return queryPart(call, drafting, { sample })
  const file = flags.text(source) ?? ''
  await sizeOfFile(file, `--${source} ${file}`)
  return withScratch(async (scratch) => {
    if (source === 'model') return modelPart(call, drafting, { model: file, sample, scratch })
    const runDirectory = await folderIn(scratch, 'run')
    const own = flags.text('interpreter')
    const key = source === 'python' ? 'python' : 'rscript'
    const settings = runtimeSettings({
      config: own === null ? config : { ...config, [key]: own },
      home: { environments: scratch },
      runDirectory,
      env: shell.env,
      queryUrl: '',
    })
    return codePart(call, drafting, { language: source, file, sample, settings })
  })
}
