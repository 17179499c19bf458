/** Commands about keys: those that call services, and those of the admin API. */

import { confirm, YES_OPTION } from './asking.ts'
import type { Call, CommandRow, OptionRow } from './command.ts'
import { wrongUsage } from './failures.ts'
import { fieldOf, isRecord, listOf, numberOf, recordOf, textOf } from './fields.ts'
import { type Column, listText, tableText, timeText } from './output.ts'
import { servicePath } from './services.ts'

const KEYS = '/admin/api/auth/keys'
const ADMIN_KEYS = '/admin/api/keys'
const KEY_ID = { name: '<id>', about: 'id of the key, from the list' }

const QUOTA_OPTIONS: readonly OptionRow[] = [
  { name: '--requests-per-second <number>', about: 'quota; 0: none' },
  { name: '--concurrent-requests <number>', about: 'quota; 0: none' },
]

const KEY_OPTIONS: readonly OptionRow[] = [
  { name: '--label <text>', about: 'what it is for' },
  { name: '--service <id...>', about: 'a service that it opens; without any it opens all' },
  ...QUOTA_OPTIONS,
]

const SECRET_NOTE = 'The secret is printed once, on stdout, and never again.'

export const KEY_COMMANDS: readonly CommandRow[] = [
  {
    name: 'keys list',
    about: 'keys that call services',
    connects: true,
    examples: ['keys list'],
    run: async ({ admin, output }) => {
      const answer = await (await admin()).get(KEYS)
      output.answer(answer, () => tableText(listOf(answer).map(recordOf), COLUMNS))
    },
  },
  {
    name: 'keys create',
    about: 'makes a key that calls services',
    details: SECRET_NOTE,
    connects: true,
    options: KEY_OPTIONS,
    examples: [
      'keys create --label checkout --service wine',
      'keys create --label batch --requests-per-second 50 --json',
    ],
    run: createKey,
  },
  {
    name: 'keys update',
    about: 'changes the quota of a key',
    args: [KEY_ID],
    connects: true,
    options: QUOTA_OPTIONS,
    examples: ['keys update k-1f3a --requests-per-second 100'],
    run: updateKey,
  },
  {
    name: 'keys delete',
    about: 'the key opens nothing any more, at once',
    args: [KEY_ID],
    connects: true,
    options: [YES_OPTION],
    examples: ['keys delete k-1f3a'],
    run: (call) => deleteKey(call, 'key', (id) => `${KEYS}/${id}`),
  },
  {
    name: 'admin-keys list',
    about: 'keys of the admin API',
    connects: true,
    examples: ['admin-keys list'],
    run: async ({ admin, output }) => {
      const answer = await (await admin()).get(ADMIN_KEYS)
      const rows = listOf(isRecord(answer) ? answer['keys'] : answer).map(recordOf)
      output.answer(answer, () => tableText(rows, ADMIN_COLUMNS))
    },
  },
  {
    name: 'admin-keys create',
    about: 'makes a key of the admin API; it may do everything',
    details: SECRET_NOTE,
    connects: true,
    options: [
      { name: '--label <text>', about: 'what it is for' },
      { name: '--description <text>', about: 'more about it' },
      { name: '--expiry <time>', about: 'ISO 8601: it opens nothing from then on' },
    ],
    examples: ['admin-keys create --label ci --expiry 2027-01-01T00:00:00Z'],
    run: createAdminKey,
  },
  {
    name: 'admin-keys delete',
    about: 'the admin key opens nothing any more, at once',
    args: [KEY_ID],
    connects: true,
    options: [YES_OPTION],
    examples: ['admin-keys delete a-77c0'],
    run: (call) => deleteKey(call, 'admin key', (id) => `${ADMIN_KEYS}/${id}/key`),
  },
]

type Row = Readonly<Record<string, unknown>>

const COLUMNS: readonly Column<Row>[] = [
  { head: 'ID', cell: (row) => textOf(row['id']) },
  { head: 'LABEL', cell: (row) => textOf(row['label']) },
  { head: 'SERVICES', cell: (row) => listOf(row['allowedServices']).join(', ') || 'all' },
  { head: 'QUOTA', cell: (row) => quotaText(row['quota']) },
  { head: 'CREATED (UTC)', cell: (row) => timeText(numberOf(row['createdOn'])) },
  { head: 'LAST USE', cell: (row) => timeText(numberOf(row['lastUse'])) },
]

const ADMIN_COLUMNS: readonly Column<Row>[] = [
  { head: 'ID', cell: (row) => textOf(row['id']) },
  { head: 'LABEL', cell: (row) => textOf(row['label']) },
  { head: 'DESCRIPTION', cell: (row) => textOf(row['description']) },
  { head: 'CREATED (UTC)', cell: (row) => timeText(numberOf(row['createdOn'])) },
  { head: 'EXPIRY', cell: (row) => timeText(numberOf(row['expiry'])) },
]

function quotaText(quota: unknown): string {
  const rate = numberOf(fieldOf(quota, 'requestsPerSecond'))
  const concurrent = numberOf(fieldOf(quota, 'concurrentRequests'))
  const parts = [
    ...(rate === null ? [] : [`${rate}/s`]),
    ...(concurrent === null ? [] : [`${concurrent} at once`]),
  ]
  return parts.join(', ')
}

/** Only what was given: the rest stays as it is. */
function fieldsOf({ flags }: Call): Record<string, unknown> {
  const label = flags.text('label')
  const services = flags.list('service')
  const rate = flags.number('requestsPerSecond')
  const concurrent = flags.number('concurrentRequests')
  const quota = {
    ...(rate === null ? {} : { requestsPerSecond: rate === 0 ? null : rate }),
    ...(concurrent === null ? {} : { concurrentRequests: concurrent === 0 ? null : concurrent }),
  }
  return {
    ...(label === null ? {} : { label }),
    ...(services.length === 0 ? {} : { allowedServices: services }),
    ...(Object.keys(quota).length === 0 ? {} : { quota }),
  }
}

/** A key may be made before its service; a typing error looks the same, so it is told. */
async function createKey(call: Call): Promise<void> {
  const client = await call.admin()
  created(call, await client.post(KEYS, fieldsOf(call)))
  for (const serviceId of call.flags.list('service')) {
    const { status } = await client.ask('GET', servicePath(serviceId))
    if (status === 404) call.output.say(`note: there is no service ${serviceId} yet`)
  }
}

async function deleteKey(call: Call, kind: string, pathOf: (id: string) => string): Promise<void> {
  const [id = ''] = call.args
  const client = await call.admin()
  await confirm(call, async () => `Delete the ${kind} ${id}? Who uses it is refused at once.`)
  await client.delete(pathOf(encodeURIComponent(id)))
  call.output.answer({ ok: true, id }, () => `deleted ${id}`)
}

async function updateKey(call: Call): Promise<void> {
  const { admin, args, output } = call
  const [id = ''] = args
  const change = fieldsOf(call)
  if (!('quota' in change)) {
    throw wrongUsage('give --requests-per-second, --concurrent-requests or both')
  }
  const client = await admin()
  const keys = listOf(await client.get(KEYS)).map(recordOf)
  const before = recordOf(keys.find((one) => one['id'] === id)?.['quota'])
  // The node takes a quota as a whole; what was not named stays.
  const quota = { ...before, ...recordOf(change['quota']) }
  const answer = await client.patch(`${KEYS}/${encodeURIComponent(id)}`, { quota })
  output.answer(answer, () => tableText([recordOf(answer)], COLUMNS))
}

function created({ output }: Call, answer: unknown): void {
  const { id, key, label } = recordOf(answer)
  output.answer(answer, () => {
    return listText([
      ['id', id],
      ['label', label],
      ['key', key],
    ])
  })
}

async function createAdminKey(call: Call): Promise<void> {
  const { admin, flags } = call
  const expiry = flags.text('expiry')
  if (expiry !== null && Number.isNaN(Date.parse(expiry))) {
    throw wrongUsage(`--expiry ${JSON.stringify(expiry)} is no time such as 2027-01-01T00:00:00Z`)
  }
  const description = flags.text('description')
  const body = {
    label: flags.text('label'),
    description,
    createdBy: null,
    expiry: expiry === null ? null : Date.parse(expiry),
  }
  created(call, await (await admin()).post(ADMIN_KEYS, body))
}
