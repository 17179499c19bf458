/**
 * Goal: operators' programs written for Dataiku's API node can do no more than they may: archives
 * come from folders that the node was told of and no others, keys open until they end, and secrets
 * are found nowhere. Method: as dataiku-admin.test.ts, with the folders and the log looked at.
 */

import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { bundleOf, Client } from '../tools/client.ts'
import { type Calls, type Said, whyNoDataiku } from '../tools/dataiku.ts'
import {
  adminSetup,
  archive,
  imported,
  NOTHING,
  refused,
  type Setup,
} from '../tools/dataiku-admin.ts'
import type { TestNode } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'
import { until } from '../tools/waiting.ts'

t.setTimeout(240_000)

async function imports(t: Test, { folder }: Setup, service: Calls): Promise<void> {
  const bring = (path: string) => service(['import_generation_from_archive', [path]])
  const v1 = archive(folder, 'v1', 1)
  t.same(await bring(v1), NOTHING)
  t.same(await bring(v1), NOTHING, 'the same again')
  t.ok(existsSync(v1), 'the archive stays')
  const [first] = (await service(['list_generations'])).returned
  t.match(first, {
    generation: 'v1',
    generationId: 'v1',
    active: false,
    proba: 0,
    preloaded: false,
  })
  t.ok(Math.abs(first.createdOn - Date.now()) < 60_000, 'milliseconds')
  archive(folder, 'v1', 2)
  refused(t, await bring(v1), /^GenerationExists: /)
}

/** What leads out of the folder, by itself or by what it links to. */
async function paths(t: Test, { folder, outside }: Setup, service: Calls): Promise<void> {
  const bring = (path: string) => service(['import_generation_from_archive', [path]])
  const secret = archive(outside, 'v2', 2)
  symlinkSync(secret, join(folder, 'link.zip'))
  symlinkSync(outside, join(folder, 'door'))
  symlinkSync(join(folder, 'nowhere'), join(folder, 'broken.zip'))
  archive(folder, 'v3', 3)
  const beside = `${folder}x`
  mkdirSync(beside)
  archive(beside, 'v1', 1)
  symlinkSync(join(folder, 'v3.zip'), join(folder, 'v4.zip'))
  writeFileSync(join(folder, 'text.zip'), 'no archive')
  const wrong = { threshhold: 0.5, maxRows: 0 }
  writeFileSync(join(folder, 'faults.zip'), bundleOf(regressor(1), wrong))
  spawnSync('sh', ['-c', 'mkfifo "$0"', join(folder, 'pipe.zip')])
  const forbidden = /^ImportPath: .*allowed is what is in .*--import-folders/
  for (const path of [
    ...[secret, join(outside, 'not-there.zip'), '/etc/passwd', folder, join(beside, 'v1.zip')],
    ...[`${folder}/../outside/v2.zip`, join(folder, 'link.zip'), join(folder, 'door/v2.zip')],
  ]) {
    refused(t, await bring(path), forbidden)
  }
  const faulty = [
    ['none.zip', /^ParameterInvalid: .*filePath: there is no such file$/],
    ['broken.zip', /^ParameterInvalid: .*filePath: there is no such file$/],
    ['v3.zip/x.zip', /^ParameterInvalid: .*filePath: there is no such file$/],
    ['', forbidden],
    ['sub', /^ParameterInvalid: .*filePath: it is no regular file$/],
    ['pipe.zip', /^ParameterInvalid: .*filePath: it is no regular file$/],
    ['faults.zip', /^BundleInvalid: .*endpoints\[0\].*"threshold".*maxRows must be/],
    ['text.zip', /^BundleInvalid: .*(zip|archive)/i],
  ] as const
  mkdirSync(join(folder, 'sub'))
  for (const [name, text] of faulty) refused(t, await bring(join(folder, name)), text)
  t.same(await bring(join(folder, 'v4.zip')), NOTHING, 'a link that stays inside')
  const listed: { generation: string }[] = (await service(['list_generations'])).returned
  t.same(
    listed.map(({ generation }) => generation),
    ['v1', 'v4'],
  )
}

/** The client makes paths absolute before it sends them; others may not. */
async function sentPaths(t: Test, { node, folder, admin }: Setup): Promise<void> {
  const v1 = join(folder, 'v1.zip')
  const client = new Client(node)
  const at = '/services/imports/generations/actions/importFromArchive'
  for (const [query, detail] of [
    ['?filePath=v1.zip', /absolute path/],
    ['?filePath=../imports/v1.zip', /absolute path/],
    ['?filePath=', /filePath is missing/],
    ['', /filePath is missing/],
    [`?filePath=${encodeURIComponent(`${v1}\0.zip`)}`, /absolute path/],
  ] as const) {
    const { status, body } = await client.admin('POST', `${at}${query}`)
    t.match({ status, text: body.detailedMessage }, { status: 400, text: detail }, query)
  }
  const dots = `${folder}/../outside/v2.zip`
  const climbing = await client.admin('POST', `${at}?filePath=${encodeURIComponent(dots)}`)
  t.match(climbing, { status: 403, body: { code: 'ERR_IMPORT_PATH' } }, 'dots as they are')
  const none = await admin(['service', ['none']], ['import_generation_from_archive', [v1]])
  refused(t, none, /^ServiceUnknown: /)
}

async function adminKeys(t: Test, setup: Setup): Promise<void> {
  const { node, admin, adminWith } = setup
  const auth = (...step: [string, unknown[]?, object?]) => admin(['auth'], step)
  const keysNow = async () => (await auth('list_keys')).returned
  const known = await keysNow()
  t.match(known, [{ id: 'env' }])
  const far = Date.UTC(2100, 0, 31, 12)
  const wanted = { label: 'deploy', description: 'of the pipeline', created_by: 'ada', expiry: far }
  const made = (await auth('add_key', [], wanted)).returned
  const { key, ...details } = made
  t.match(made, { id: String, key: /^sk_/, label: 'deploy', description: 'of the pipeline' })
  t.match(made, { createdBy: 'ada', expiry: far })
  t.ok(Math.abs(made.createdOn - Date.now()) < 60_000)
  const bare = (await auth('add_key')).returned
  t.match(bare, { label: '', description: null, createdBy: null, expiry: null })
  const dated = (await auth('add_key', [], { expiry: '2100-01-31T12:00:00+00:00' })).returned
  t.equal(dated.expiry, far, 'as Python writes a time')
  const listed = await keysNow()
  const shown = [details, ...[bare, dated].map(({ key: _, ...rest }) => rest)]
  const byId = (a: { id: string }, b: { id: string }) => a.id.localeCompare(b.id)
  t.same(
    listed.filter(({ id }: { id: string }) => id !== 'env').sort(byId),
    shown.sort(byId),
    'all but the secrets',
  )

  const theirs = await adminWith(key)
  t.match((await theirs(['list_services'])).returned, [])
  t.same(await auth('delete_key', [key]), NOTHING)
  const unknown = /^AuthUnknown: the API key is not known/
  refused(t, await theirs(['list_services']), unknown)
  refused(t, await auth('delete_key', [key]), /^KeyUnknown: /)
  const second = await adminWith(bare.key)
  t.match((await second(['list_services'])).returned, [])
  t.same(await auth('delete_key_by_id', [bare.id]), NOTHING)
  refused(t, await second(['list_services']), unknown)
  refused(t, await auth('delete_key_by_id', [bare.id]), /^KeyUnknown: /)
  refused(t, await auth('delete_key', [bare.id]), /^KeyUnknown: .*no admin key is this one/)
  t.equal((await keysNow()).length, 2)

  const secrets = [key, bare.key, dated.key, await expired(t, setup)]
  // One that can be used must be left.
  t.same(await auth('delete_key_by_id', [dated.id]), NOTHING)
  refused(t, await auth('delete_key_by_id', ['env']), /^KeyLast: /)
  refused(t, await auth('delete_key', [node.adminKey]), /^KeyLast: /)
  t.same(secretsIn(node, [...secrets, node.adminKey]), [], 'no secret is in a log or on the disk')
}

/** The secret of a key whose time is over. */
async function expired(t: Test, { admin, adminWith }: Setup): Promise<string> {
  const auth = (...step: [string, unknown[]?, object?]) => admin(['auth'], step)
  for (const [expiry, text] of [
    [1_700_000_000, /expiry: it has passed; it looks like seconds/],
    [Date.now() - 1_000, /expiry: it has passed/],
    ['2100-02-30', /expiry: send milliseconds/],
    ['soon', /expiry: send milliseconds/],
    [true, /ParameterInvalid: .*expiry/],
  ] as const) {
    refused(t, await auth('add_key', [], { expiry }), text)
  }
  const brief = (await auth('add_key', [], { expiry: Date.now() + 1_500 })).returned
  const ending = await adminWith(brief.key)
  let last: Said = NOTHING
  await until(async () => {
    last = await ending(['list_services'])
    return last.raised !== undefined
  })
  refused(t, last, /^AuthUnknown: .*the admin key has expired/)
  t.same(await auth('delete_key_by_id', [brief.id]), NOTHING)
  return brief.key
}

/** Where a secret can be read that nobody should find. */
function secretsIn({ home, log }: TestNode, secrets: readonly string[]): string[] {
  const files = readdirSync(home, { recursive: true, withFileTypes: true })
  const texts = files
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path): [string, string] => [path, readFileSync(path, 'latin1')])
  texts.push(['the log', log()])
  return texts.flatMap(([name, text]) => (secrets.some((one) => text.includes(one)) ? [name] : []))
}

async function caches(t: Test, { admin, folder }: Setup): Promise<void> {
  const noEnvironments = /^NotSupported: .*environments are not brought in: the node makes them/
  for (const language of ['python', 'R']) {
    refused(t, await admin(['import_code_env_in_cache', [folder, language]]), noEnvironments)
    const register = ['register_code_env_in_cache', [folder, folder, language]] as const
    refused(t, await admin(register), noEnvironments)
  }
  const noModels = /^NotSupported: .*there is no cache of models/
  refused(t, await admin(['import_model_archive_in_cache', [join(folder, 'v1.zip')]]), noModels)
  t.same(await admin(['clear_model_cache']), NOTHING)
  const { returned, printed } = await admin(['clean_code_env_cache'])
  t.equal(returned, null)
  t.same(JSON.parse(printed), { ok: true, environments: [], kept: [] })
}

t.test('the unmodified admin client, and what it may', { skip: whyNoDataiku() }, async (t) => {
  const setup = await adminSetup(t)
  const service = await imported(setup, 'imports', [])
  await t.test('imports of archives', (t) => imports(t, setup, service))
  await t.test('paths that lead elsewhere', (t) => paths(t, setup, service))
  await t.test('paths as they are sent', (t) => sentPaths(t, setup))
  await service(['delete'])
  await t.test('admin keys', (t) => adminKeys(t, setup))
  await t.test('caches that are none here', (t) => caches(t, setup))
})
