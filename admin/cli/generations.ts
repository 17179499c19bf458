/** Commands about generations, and about which of them a service answers with. */

import { stat } from 'node:fs/promises'
import { messageOf } from '../../core/base/errors.ts'
import { confirm, YES_OPTION } from './asking.ts'
import type { ApiClient } from './client.ts'
import type { Call, CommandRow } from './command.ts'
import { CommandFailure, failed, whyUnreadable, wrongUsage } from './failures.ts'
import { fieldOf, isRecord, listOf, numberOf, recordOf, textOf } from './fields.ts'
import { bytesText, listText, tableText, timeText } from './output.ts'
import { mappingText, SERVICE, servicePath } from './services.ts'
import { watchedLoad, watchedUpload } from './waiting.ts'

const GENERATION = { name: '<generation>', about: 'id of the generation' }

export const GENERATION_COMMANDS: readonly CommandRow[] = [
  {
    name: 'generations list',
    about: 'the generations of a service',
    args: [SERVICE],
    connects: true,
    examples: ['generations list wine'],
    run: listGenerations,
  },
  {
    name: 'generations show',
    about: 'a generation: its state, and what the import has measured',
    args: [SERVICE, GENERATION],
    connects: true,
    examples: ['generations show wine v1', 'generations show wine v1 --json'],
    run: showGeneration,
  },
  {
    name: 'generations import',
    about: 'uploads a bundle; the node checks it and keeps it',
    details:
      'A bundle is a ZIP, see "switchyard bundle build --help". The id of the generation is in\n' +
      'the bundle, or is given here, or is the name of the file without ".zip".',
    args: [SERVICE, { name: '<file>', about: 'the bundle' }],
    connects: true,
    options: [
      { name: '--generation <id>', about: 'id of the generation' },
      { name: '--create', about: 'make the service if there is none' },
      { name: '--preload', about: 'load it, so that a switch takes no time' },
      { name: '--switch', about: 'switch to it when it is imported' },
    ],
    examples: ['generations import wine v1.zip', 'generations import wine v2.zip --switch'],
    run: importGeneration,
  },
  loading('preload', 'loads a generation into memory'),
  loading('unload', 'takes a generation out of memory'),
  loading('switch', 'answers all queries with this generation'),
  {
    name: 'generations switch-to-newest',
    about: 'answers all queries with the newest generation',
    args: [SERVICE],
    connects: true,
    examples: ['generations switch-to-newest wine'],
    run: switchToNewest,
  },
  {
    name: 'generations delete',
    about: 'removes a generation that is not active',
    args: [SERVICE, GENERATION],
    connects: true,
    options: [YES_OPTION],
    examples: ['generations delete wine v1'],
    run: deleteGeneration,
  },
  {
    name: 'mapping set',
    about: 'splits the traffic of a service between generations',
    args: [SERVICE, { name: '<shares...>', about: 'GENERATION=SHARE; shares sum to 1 or 100%' }],
    connects: true,
    examples: ['mapping set wine v1=0.9 v2=0.1', 'mapping set wine v1=90% v2=10%'],
    run: setMapping,
  },
]

function generationPath(serviceId: string, generationId: string): string {
  return `${servicePath(serviceId)}/generations/${encodeURIComponent(generationId)}`
}

function loading(name: 'preload' | 'unload' | 'switch', about: string): CommandRow {
  return {
    name: `generations ${name}`,
    about,
    args: [SERVICE, GENERATION],
    connects: true,
    examples: [`generations ${name} wine v1`],
    run: async ({ shell, admin, args: [serviceId = '', generationId = ''], output }) => {
      const client = await admin()
      const asked = client.post(`${generationPath(serviceId, generationId)}/${name}`)
      const answer = await watchedLoad({ shell, client, serviceId }, asked)
      output.answer(answer, () => `${DONE[name]} ${serviceId} ${generationId}`)
    },
  }
}

const DONE = { preload: 'loaded', unload: 'unloaded', switch: 'switched' } as const

async function listGenerations({ admin, args: [serviceId = ''], output }: Call): Promise<void> {
  const client = await admin()
  const answer = await client.get(`${servicePath(serviceId)}/generations`)
  const rows = listOf(isRecord(answer) ? answer['generations'] : answer).map(recordOf)
  output.answer(answer, () =>
    tableText(rows, [
      { head: 'GENERATION', cell: (row) => textOf(row['generationId']) },
      { head: 'ACTIVE', cell: (row) => row['active'] === true },
      { head: 'SHARE', cell: shareOf, right: true },
      { head: 'LOADED', cell: (row) => row['preloaded'] === true },
      { head: 'CREATED (UTC)', cell: (row) => timeText(numberOf(row['createdOn'])) },
    ]),
  )
}

function shareOf(row: Readonly<Record<string, unknown>>): string {
  const proba = numberOf(row['proba'])
  return proba === null ? '' : `${Math.round(proba * 1_000) / 10} %`
}

async function showGeneration(call: Call): Promise<void> {
  const { admin, args, output } = call
  const [serviceId = '', generationId = ''] = args
  const answer = recordOf(await (await admin()).get(generationPath(serviceId, generationId)))
  output.answer(answer, () => {
    const facts = listText([
      ['generation', answer['generationId']],
      ['state', answer['state']],
      ['reason', answer['reason']],
      ['active', answer['active'] === true ? 'yes' : 'no'],
      ['share', shareOf(answer)],
      ['created', timeText(numberOf(answer['createdOn']))],
      ['on disk', bytesText(numberOf(answer['bytes']))],
      ['phase', answer['phase']],
    ])
    const reports = listOf(fieldOf(answer['report'], 'endpoints')).map(recordOf)
    const reportOf = (id: unknown) => recordOf(reports.find((one) => one['endpointId'] === id))
    const endpoints = listOf(answer['endpoints']).map(recordOf)
    const table = tableText(endpoints, [
      { head: 'ENDPOINT', cell: (row) => textOf(row['id']) },
      { head: 'TYPE', cell: (row) => textOf(row['type']) },
      { head: 'FIRST RUN', cell: (row) => msText(reportOf(row['id'])['firstRunMs']), right: true },
      { head: 'ROWS A RUN', cell: (row) => numberOf(reportOf(row['id'])['maxRows']), right: true },
    ])
    return `${facts}\n\n${table}`
  })
}

function msText(value: unknown): string {
  const ms = numberOf(value)
  return ms === null ? '' : `${Math.round(ms * 100) / 100} ms`
}

async function importGeneration(call: Call): Promise<void> {
  const { shell, admin, args, flags, output } = call
  const [serviceId = '', file = ''] = args
  const bytes = await sizeOf(file)
  const client = await admin()
  if (flags.isSet('create')) await createIfAbsent(client, serviceId)
  const wanted = flags.text('generation')
  const query = wanted === null ? '' : `?generationId=${encodeURIComponent(wanted)}`
  const path = `${servicePath(serviceId)}/generations${query}`
  const waited = { shell, client, serviceId }
  const answer = recordOf(await watchedUpload(waited, { path, file, bytes }))
  const generation = textOf(answer['generationId']) ?? ''
  const said = [`imported ${serviceId} ${generation}`]
  const target = generationPath(serviceId, generation)
  for (const name of ['preload', 'switch'] as const) {
    if (!flags.isSet(name)) continue
    await watchedLoad(waited, client.post(`${target}/${name}`)).catch((error: unknown) => {
      throw halfDone(`${generation} is imported, but the ${name} failed`, error)
    })
    said.push(`${DONE[name]} ${serviceId} ${generation}`)
  }
  const isLoaded = flags.isSet('preload') || flags.isSet('switch')
  const shown = {
    ...answer,
    ...(isLoaded ? { preloaded: true } : {}),
    ...(flags.isSet('switch') ? { active: true, proba: 1 } : {}),
  }
  output.answer(shown, () => said.join('\n'))
}

/** Nobody should upload it once more. */
function halfDone(done: string, error: unknown): CommandFailure {
  const line = `${done}: ${messageOf(error)}`
  if (!(error instanceof CommandFailure)) return failed(line)
  const { exitCode, answer, code, faults, hasCode } = error
  return new CommandFailure(line, { exitCode, answer, faults, ...(hasCode ? { code } : {}) })
}

async function createIfAbsent(client: ApiClient, serviceId: string): Promise<void> {
  const reply = await client.ask('GET', servicePath(serviceId))
  if (reply.status === 404) await client.post('/admin/api/services', { serviceId })
}

async function sizeOf(file: string): Promise<number> {
  try {
    const facts = await stat(file)
    if (facts.isFile()) return facts.size
  } catch (error) {
    throw wrongUsage(`${file} cannot be read: ${whyUnreadable(error)}`)
  }
  throw wrongUsage(`${file} is no file: make a bundle of it with "switchyard bundle build"`)
}

async function deleteGeneration(call: Call): Promise<void> {
  const [serviceId = '', generationId = ''] = call.args
  const client = await call.admin()
  await confirm(call, async () => `Delete the generation ${generationId} of ${serviceId}?`)
  await client.delete(generationPath(serviceId, generationId))
  const answer = { ok: true, serviceId, generation: generationId }
  call.output.answer(answer, () => `deleted ${serviceId} ${generationId}`)
}

async function switchToNewest({ shell, admin, args, output }: Call): Promise<void> {
  const [serviceId = ''] = args
  const client = await admin()
  const asked = client.post(`${servicePath(serviceId)}/actions/switchToNewest`)
  const answer = await watchedLoad({ shell, client, serviceId }, asked)
  output.answer(answer, () => `switched ${serviceId} ${textOf(fieldOf(answer, 'generation'))}`)
}

async function setMapping({ shell, admin, args, output }: Call): Promise<void> {
  const [serviceId = '', ...shares] = args
  const entries = shares.map(entryOf)
  const client = await admin()
  const asked = client.post(`${servicePath(serviceId)}/actions/setMapping`, { entries })
  const answer = await watchedLoad({ shell, client, serviceId }, asked)
  output.answer(answer, () => `${serviceId}: ${mappingText({ entries })}`)
}

function entryOf(text: string): { readonly generation: string; readonly proba: number } {
  const [, generation = '', digits = '', percent = ''] = text.match(/^(.+)=([\d.e-]+)(%?)$/) ?? []
  const proba = percent === '' ? Number(digits) : Number(digits) / 100
  if (generation === '' || digits === '' || !(proba >= 0 && proba <= 1)) {
    throw wrongUsage(`${JSON.stringify(text)}: a share is written v1=0.9 or v1=90%`)
  }
  return { generation, proba }
}
