/** Commands about services. */

import { confirm, YES_OPTION } from './asking.ts'
import type { Call, CommandRow, OptionRow } from './command.ts'
import { wrongUsage } from './failures.ts'
import { fieldOf, listOf, numberOf, recordOf, textOf } from './fields.ts'
import { listText, tableText, timeText } from './output.ts'

export const SERVICE = { name: '<service>', about: 'id of the service' }

export function servicePath(serviceId: string): string {
  return `/admin/api/services/${encodeURIComponent(serviceId)}`
}

export const SERVICE_COMMANDS: readonly CommandRow[] = [
  {
    name: 'services list',
    about: 'all services of the node',
    connects: true,
    examples: ['services list', 'services list --json'],
    run: listServices,
  },
  {
    name: 'services show',
    about: 'a service: endpoints, traffic, what is loaded',
    args: [SERVICE],
    connects: true,
    examples: ['services show wine'],
    run: showService,
  },
  {
    name: 'services create',
    about: 'makes a service without a generation',
    args: [SERVICE],
    connects: true,
    examples: ['services create wine'],
    run: async ({ admin, args: [serviceId = ''], output }) => {
      const answer = await (await admin()).post('/admin/api/services', { serviceId })
      output.answer(answer, () => `created ${serviceId}`)
    },
  },
  {
    name: 'services delete',
    about: 'removes a service and all its generations',
    args: [SERVICE],
    connects: true,
    options: [YES_OPTION],
    examples: ['services delete wine', 'services delete wine --yes'],
    run: deleteService,
  },
  action('enable', 'queries are answered again'),
  action('disable', 'queries are answered with 503'),
  {
    name: 'services settings',
    about: 'query log and allowed web origins: shows them, or sets what is given',
    args: [SERVICE],
    connects: true,
    options: settingOptions(),
    examples: [
      'services settings wine',
      'services settings wine --query-log sample:0.01',
      'services settings wine --cors https://app.example.org',
      'services settings wine --no-cors',
    ],
    run: settings,
  },
]

function action(name: 'enable' | 'disable', about: string): CommandRow {
  return {
    name: `services ${name}`,
    about,
    args: [SERVICE],
    connects: true,
    examples: [`services ${name} wine`],
    run: async ({ admin, args: [serviceId = ''], output }) => {
      const answer = await (await admin()).post(`${servicePath(serviceId)}/${name}`)
      output.answer(answer, () => `${name}d ${serviceId}`)
    },
  }
}

async function deleteService(call: Call): Promise<void> {
  const [serviceId = ''] = call.args
  const client = await call.admin()
  await confirm(call, async () => {
    const { generationCount } = recordOf(await client.get(servicePath(serviceId)))
    return `Delete the service ${serviceId} and its generations (${generationCount})?`
  })
  await client.delete(servicePath(serviceId))
  call.output.answer({ ok: true, serviceId }, () => `deleted ${serviceId}`)
}

async function listServices({ admin, output }: Call): Promise<void> {
  const answer = await (await admin()).get('/admin/api/services')
  output.answer(answer, () =>
    tableText(listOf(answer).map(recordOf), [
      { head: 'SERVICE', cell: (row) => textOf(row['serviceId']) },
      { head: 'ENABLED', cell: (row) => row['enabled'] === true },
      { head: 'ACTIVE', cell: (row) => textOf(row['activeGeneration']) ?? '-' },
      { head: 'GENERATIONS', cell: (row) => numberOf(row['generationCount']), right: true },
    ]),
  )
}

async function showService({ admin, args: [serviceId = ''], output }: Call): Promise<void> {
  const answer = recordOf(await (await admin()).get(servicePath(serviceId)))
  output.answer(answer, () => {
    const endpoints = listOf(answer['endpoints']).map(recordOf)
    const pools = listOf(answer['pools']).map(recordOf)
    const parts = [
      listText([
        ['service', serviceId],
        ['enabled', answer['enabled'] === true ? 'yes' : 'no'],
        ['traffic', mappingText(answer['mapping'])],
        ['generations', answer['generationCount']],
        ['created', timeText(numberOf(answer['createdOn']))],
      ]),
    ]
    if (endpoints.length > 0) {
      parts.push(
        tableText(endpoints, [
          { head: 'ENDPOINT', cell: (row) => textOf(row['id']) },
          { head: 'TYPE', cell: (row) => textOf(row['type']) },
          { head: 'MODEL', cell: (row) => textOf(row['modelRef']) },
        ]),
      )
    }
    const cold = listOf(answer['cold'])
    if (cold.length > 0) {
      parts.push(listText([['cold', `${cold.join(', ')} (loaded at the next request)`]]))
    }
    if (pools.length > 0) {
      parts.push(
        tableText(pools, [
          { head: 'LOADED', cell: (row) => textOf(row['generationId']) },
          { head: 'STATE', cell: (row) => textOf(row['state']) },
          { head: 'THREADS', cell: (row) => numberOf(row['threads']), right: true },
          { head: 'QUEUED', cell: (row) => numberOf(row['queued']), right: true },
          { head: 'REASON', cell: (row) => textOf(row['reason']) },
        ]),
      )
    }
    return parts.join('\n\n')
  })
}

/** `v1 90 %, v2 10 %` */
export function mappingText(mapping: unknown): string {
  const entries = listOf(fieldOf(mapping, 'entries')).map(recordOf)
  const parts = entries.map((entry) => {
    const share = Math.round((numberOf(entry['proba']) ?? 0) * 1_000) / 10
    return `${textOf(entry['generation'])} ${share} %`
  })
  return parts.length === 0 ? 'none' : parts.join(', ')
}

function settingOptions(): OptionRow[] {
  const modes = 'off, failures, sample:SHARE or all'
  return [
    { name: '--query-log <mode>', about: `which queries are logged: ${modes}` },
    { name: '--cors <origin...>', about: 'web origin that may read answers; * is every one' },
    { name: '--no-cors', about: 'no page of another origin may read answers' },
  ]
}

async function settings({ admin, args: [serviceId = ''], flags, output }: Call): Promise<void> {
  const path = `${servicePath(serviceId)}/settings`
  const queryLog = flags.text('queryLog')
  if (queryLog !== null && !/^(off|failures|all|sample:[\d.e-]+)$/.test(queryLog)) {
    throw wrongUsage(`--query-log ${JSON.stringify(queryLog)}: off, failures, sample:0.01 or all`)
  }
  const origins = flags.list('cors')
  const cors = flags.isUnset('cors') ? null : { origins }
  const isCors = flags.isUnset('cors') || origins.length > 0
  const change = {
    ...(queryLog === null ? {} : { queryLog }),
    ...(isCors ? { cors } : {}),
  }
  const client = await admin()
  const isChange = Object.keys(change).length > 0
  const answer = isChange ? await client.patch(path, change) : await client.get(path)
  output.answer(answer, () => settingsText(recordOf(answer)))
}

function settingsText({ queryLog, cors }: Readonly<Record<string, unknown>>): string {
  const origins = listOf(fieldOf(cors, 'origins')).join(', ')
  return listText([
    ['query log', queryLog],
    ['web origins', origins === '' ? 'none' : origins],
  ])
}
