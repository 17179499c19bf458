/**
 * `switchyard predict`: one query of an endpoint of any type. The node is asked which type it is,
 * and where queries go; with neither an admin key nor `--verb` the paths are tried in turn, since a
 * path that an endpoint does not have runs nothing.
 */

import { endpointType } from '../../core/bundle/endpoint-types.ts'
import { PATH_VERBS } from '../../core/bundle/kinds.ts'
import { ApiClient, type Reply } from './client.ts'
import type { Call, CommandRow } from './command.ts'
import { queryKey, queryTarget } from './connection.ts'
import { wrongUsage } from './failures.ts'
import { fieldOf, isRecord, listOf, numberOf, recordOf, textOf } from './fields.ts'
import { answerText } from './predictions.ts'
import { servicePath } from './services.ts'
import { dataOf, type Values, valuesOf } from './values.ts'

const VERBS = ['predict', 'run', 'query', 'lookup'] as const
type QueryVerb = (typeof VERBS)[number]

export const PREDICT_COMMAND: CommandRow = {
  name: 'predict',
  about: 'asks an endpoint: a prediction, a function, a query or a look-up',
  details:
    'Values are given as a=1,b=x or as JSON. Several --row make one request of many rows\n' +
    '(predictions and look-ups). --data is the whole body, or a list of rows.',
  args: [{ name: '<service/endpoint>', about: 'which endpoint' }],
  connects: true,
  options: [
    { name: '--features <values>', about: 'features, arguments, parameters or fields' },
    { name: '--row <values...>', about: 'a row; may come several times' },
    { name: '--data <json>', about: 'the body as JSON, @file, or - for stdin' },
    {
      name: '--verb <verb>',
      about: 'predict, run, query or lookup; found out without it',
      choices: VERBS,
    },
    { name: '--generation <id>', about: 'ask this generation (predictions)' },
    { name: '--dispatch-key <text>', about: 'same key, same generation (predictions)' },
    { name: '--explain', about: 'with explanations (predictions)' },
    { name: '--query-url <url>', about: 'query API (SWITCHYARD_CLI_QUERY_URL; asked for)' },
    { name: '--query-key <key>', about: 'key of the service (better: SWITCHYARD_CLI_QUERY_KEY)' },
    {
      name: '--query-key-file <file>',
      about: 'file that holds it, - is stdin (SWITCHYARD_CLI_QUERY_KEY_FILE)',
    },
  ],
  examples: [
    'predict wine/cultivar --features alcohol=13.2,malic_acid=1.78',
    `predict wine/cultivar --row '{"alcohol": 13.2}' --row alcohol=12`,
    'predict shop/shipping --features kg=2,country=AT',
    'predict wine/cultivar --data @rows.json --json',
    'predict wine/cultivar --data - < rows.json',
  ],
  run: predict,
}

interface Asked {
  readonly serviceId: string
  readonly endpointId: string
}

async function predict(call: Call): Promise<void> {
  const asked = endpointOf(call.args[0] ?? '')
  const client = await queryClient(call)
  const verb = verbGiven(call) ?? (await verbOfNode(call, asked)) ?? verbMeant(call)
  const rows = await rowsOf(call)
  const reply = await firstThere(verb === null ? VERBS : [verb], (one) => {
    const { path, body } = requestOf(call, rows, one)
    return client.ask('POST', `${queryPath(asked)}/${path}`, body)
  })
  const answer = client.body(reply)
  call.output.answer(answer, () => answerText(answer))
}

function endpointOf(text: string): Asked {
  const parts = text.split('/')
  const [serviceId = '', endpointId = ''] = parts
  if (parts.length === 2 && serviceId !== '' && endpointId !== '') return { serviceId, endpointId }
  throw wrongUsage(`${JSON.stringify(text)}: name the endpoint as SERVICE/ENDPOINT`)
}

function queryPath({ serviceId, endpointId }: Asked): string {
  return `/public/api/v1/${encodeURIComponent(serviceId)}/${encodeURIComponent(endpointId)}`
}

function verbGiven({ flags }: Call): QueryVerb | null {
  const given = flags.text('verb')
  const verb = VERBS.find((one) => one === given)
  if (given === null || verb !== undefined) return verb ?? null
  throw wrongUsage(`--verb ${JSON.stringify(given)}: one of ${VERBS.join(', ')}`)
}

/** Null: the node does not say, as when nobody gave an admin key. */
async function verbOfNode({ admin }: Call, asked: Asked): Promise<QueryVerb | null> {
  const client = await admin()
  if (!client.hasKey) return null
  const reply = await client.ask('GET', servicePath(asked.serviceId)).catch(() => null)
  const endpoints = listOf(fieldOf(reply?.body, 'endpoints')).map(recordOf)
  const endpoint = endpoints.find(({ id }) => id === asked.endpointId)
  const type = endpointType(textOf(endpoint?.['type']) ?? '')
  const name = type === null ? null : PATH_VERBS[type][0]?.[0]
  return VERBS.find((verb) => verb === name) ?? null
}

/** Only predictions have these options. */
function verbMeant(call: Call): QueryVerb | null {
  return extrasOf(call).names.length > 0 ? 'predict' : null
}

async function firstThere(
  verbs: readonly QueryVerb[],
  ask: (verb: QueryVerb) => Promise<Reply>,
): Promise<Reply> {
  let first: Reply | null = null
  for (const verb of verbs) {
    const reply = await ask(verb)
    if (!isNoPath(reply)) return reply
    first ??= reply
  }
  return first ?? { status: 404, body: null }
}

/** Nothing was run: the endpoint has other paths. */
function isNoPath({ status, body }: Reply): boolean {
  const code = fieldOf(body, 'code')
  return status === 404 && (code === 'ERR_PATH_UNKNOWN' || code === 'ERR_ENDPOINT_UNKNOWN')
}

async function queryClient(call: Call): Promise<ApiClient> {
  const { shell, flags } = call
  const given = await queryTarget(shell, flags)
  if (given !== null) return new ApiClient(given)
  const admin = await call.admin()
  const health = recordOf(await admin.get('/admin/api/health'))
  const details = recordOf(health['details'])
  const port = numberOf(fieldOf(details['serving'], 'port'))
  if (port === null) throw wrongUsage('the node does not say where queries go: use --query-url')
  const isSecure = isRecord(fieldOf(details['tls'], 'query'))
  const address = new URL(admin.url)
  address.protocol = isSecure ? 'https:' : 'http:'
  address.port = String(port)
  address.pathname = '/'
  return admin.queries(address, await queryKey(shell, flags))
}

/** One body, or a list of rows. */
type Rows =
  | { readonly kind: 'body'; readonly body: unknown }
  | { readonly kind: 'one'; readonly values: Values }
  | { readonly kind: 'many'; readonly rows: readonly Values[] }

async function rowsOf({ shell, flags }: Call): Promise<Rows> {
  const features = flags.text('features')
  const rows = flags.texts('row')
  const data = flags.text('data')
  const given = [features !== null, rows.length > 0, data !== null].filter(Boolean).length
  if (given > 1) throw wrongUsage('give one of --features, --row and --data')
  if (features !== null) return { kind: 'one', values: valuesOf(features, '--features') }
  const [row, ...more] = rows.map((text) => valuesOf(text, '--row'))
  if (row !== undefined && more.length > 0) return { kind: 'many', rows: [row, ...more] }
  if (row !== undefined) return { kind: 'one', values: row }
  if (data === null) return { kind: 'one', values: {} }
  const body = await dataOf(shell, data)
  return Array.isArray(body) ? { kind: 'many', rows: body.map(recordOf) } : { kind: 'body', body }
}

function requestOf(call: Call, rows: Rows, verb: QueryVerb) {
  const extra = extrasOf(call)
  const [name] = extra.names
  if (name !== undefined && verb !== 'predict') {
    throw wrongUsage(`${name} is for predictions; this endpoint is asked with "${verb}"`)
  }
  if (rows.kind === 'body') {
    if (name !== undefined) throw wrongUsage(`${name}: a whole body in --data says this itself`)
    const isMany = isRecord(rows.body) && Array.isArray(rows.body['items'])
    const hasMany = verb === 'predict' || verb === 'lookup'
    return { path: isMany && hasMany ? `${verb}-multi` : verb, body: rows.body }
  }
  const wrap = verb === 'predict' ? 'features' : verb === 'lookup' ? 'data' : null
  if (rows.kind === 'one') {
    const body = wrap === null ? rows.values : { [wrap]: rows.values, ...extra.fields }
    return { path: verb, body }
  }
  if (wrap === null) throw wrongUsage(`${verb} takes one row; give one --row`)
  const items = rows.rows.map((values) => ({ [wrap]: values }))
  return { path: `${verb}-multi`, body: { items, ...extra.fields } }
}

/** What goes beside the rows, and the options that said so. */
function extrasOf({ flags }: Call): { readonly names: readonly string[]; readonly fields: object } {
  const forcedGeneration = flags.text('generation')
  const dispatchKey = flags.text('dispatchKey')
  const dispatch = {
    ...(forcedGeneration === null ? {} : { forcedGeneration }),
    ...(dispatchKey === null ? {} : { dispatchKey }),
  }
  const isExplained = flags.isSet('explain')
  return {
    names: [
      ...(forcedGeneration === null ? [] : ['--generation']),
      ...(dispatchKey === null ? [] : ['--dispatch-key']),
      ...(isExplained ? ['--explain'] : []),
    ],
    fields: {
      ...(Object.keys(dispatch).length === 0 ? {} : { dispatch }),
      ...(isExplained ? { explanations: { enabled: true } } : {}),
    },
  }
}
