/**
 * Goal: only a certificate that was checked as a whole is ever in use, and a new one is taken
 * without a restart however its files come to be. Method: files made by openssl and changed as
 * renewal tools do, a real listener on node:https for the admin port, and in the place of the
 * serving processes a function that answers as they would: they are in test/flow/tls.test.ts.
 */

import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { connect } from 'node:tls'
import t, { type Test } from 'tap'
import type { ReplaceOutcome } from '../../admin/contracts.ts'
import { Certificates } from '../../admin/tls/certificates.ts'
import { curlTarget, warnOfClearText } from '../../admin/tls/hints.ts'
import { StagedPair } from '../../admin/tls/staged-pair.ts'
import type { Logger } from '../../core/base/logger.ts'
import { readConfig } from '../../core/config/config.ts'
import { BodyBudget } from '../../core/http/body-budget.ts'
import { NodeHttpServer } from '../../core/http/node-http.ts'
import {
  authority,
  type IssuedPair,
  issue,
  openssl,
  withoutOpenssl,
} from '../tools/certificates.ts'
import { temporaryDirectory } from '../tools/control-plane.ts'
import { smallDisk, whyNoSmallDisk } from '../tools/small-disk.ts'
import { until } from '../tools/waiting.ts'

const skip = withoutOpenssl
const folder = temporaryDirectory(t)
const ca = skip === false ? authority(folder, 'ca') : { cert: '', key: '' }

function configOf(env: Readonly<Record<string, string>>) {
  const readFile = (path: string) => readFileSync(path, 'utf8')
  const reading = readConfig({ argv: [], env, readFile, cores: 2, version: '0' })
  if (reading.kind !== 'run') throw new TypeError(JSON.stringify(reading))
  return reading.config
}

interface Said {
  readonly level: string
  readonly message: string
  readonly fields: object
}

class Log implements Logger {
  readonly said: Said[] = []
  debug = (): void => {}
  info = (fields: object, message: string) => this.#say('info', message, fields)
  warn = (fields: object, message: string) => this.#say('warn', message, fields)
  error = (fields: object, message: string) => this.#say('error', message, fields)

  #say(level: string, message: string, fields: object): void {
    this.said.push({ level, message, fields })
  }

  count(level: string, pattern: RegExp): number {
    return this.said.filter((one) => one.level === level && pattern.test(one.message)).length
  }
}

function open(pair: IssuedPair, more: Readonly<Record<string, string>> = {}) {
  const log = new Log()
  const env = { SWITCHYARD_TLS_CERT: pair.cert, SWITCHYARD_TLS_KEY: pair.key, ...more }
  return { log, certificates: new Certificates(configOf(env), log) }
}

function copy(name: string, change: (text: string) => string, from: string): string {
  const path = join(folder, name)
  writeFileSync(path, change(readFileSync(from, 'latin1')))
  return path
}

t.test('pairs that cannot be used', { skip }, async (t) => {
  const one = issue(folder, 'one', { by: ca })
  const other = issue(folder, 'other', { by: ca, kind: 'rsa' })
  const encrypted = join(folder, 'encrypted.key')
  openssl('pkey', '-in', one.key, '-aes256', '-passout', 'pass:secret', '-out', encrypted)
  const der = join(folder, 'one.der')
  openssl('x509', '-in', one.cert, '-outform', 'der', '-out', der)
  const reversed = copy('reversed.pem', (text) => readFileSync(ca.cert, 'latin1') + text, one.cert)
  const half = copy('half.pem', (text) => text.slice(0, 200), one.cert)
  const bent = copy('bent.pem', (text) => text.replace(/\n[\w+/]{10}/, '\nAAAAAAAAAA'), one.cert)
  const cases: [string, string, RegExp][] = [
    [
      one.cert,
      other.key,
      /^--tls-key .*other\.key: the key is of another .* --tls-cert .*one\.pem \(CN=one\)$/,
    ],
    [one.cert, encrypted, /^--tls-key .*encrypted\.key: the key is encrypted, .*openssl pkey/],
    [der, one.key, /^--tls-cert .*one\.der: holds no whole certificate in PEM form/],
    [half, one.key, /half\.pem: holds no whole certificate/],
    [bent, one.key, /bent\.pem: certificate 1 cannot be read: /],
    [one.cert, one.cert, /^--tls-key .*one\.pem: holds no whole private key in PEM form/],
    [
      reversed,
      one.key,
      /reversed\.pem: its first certificate does not .*certificate 2 of this file does/,
    ],
    [folder, one.key, /^--tls-cert .*: is no file$/],
    ['/dev/zero', one.key, /^--tls-cert \/dev\/zero: is no file$/],
    [join(folder, 'none.pem'), one.key, /^--tls-cert .*none\.pem: ENOENT/],
  ]
  for (const [cert, key, message] of cases) {
    t.throws(
      () => open({ cert, key }),
      { code: 'ERR_CERTIFICATE_INVALID', message },
      String(message),
    )
  }
  const wrongCa = { SWITCHYARD_ADMIN_CLIENT_CA: one.key }
  t.throws(() => open(one, wrongCa), {
    message: /^--admin-client-ca .*: holds no whole certificate/,
  })
  const own = { SWITCHYARD_ADMIN_TLS_CERT: one.cert, SWITCHYARD_ADMIN_TLS_KEY: other.key }
  t.throws(() => open(one, own), { message: /^--admin-tls-key .*--admin-tls-cert/ })
})

t.test('pairs that can be used, with what should be known of them', { skip }, async (t) => {
  for (const kind of ['ec', 'rsa', 'ed25519'] as const) {
    const { certificates, log } = open(issue(folder, `of-${kind}`, { kind }))
    t.match(certificates.views(), { query: { subject: `CN=of-${kind}`, daysLeft: 29 } })
    t.same(certificates.causes(), [])
    t.same(log.said, [])
  }
  const expired = open(issue(folder, 'expired', { days: -1 }))
  t.equal(expired.log.count('error', /HAS EXPIRED/), 2, 'said of both listeners')
  t.same(expired.certificates.causes(), [
    'the admin certificate has expired',
    'the query certificate has expired',
  ])
  const soon = issue(folder, 'soon', { days: 10 })
  chmodSync(soon.key, 0o644)
  const late = open(soon)
  t.equal(late.log.count('warn', /expires soon/), 2)
  t.equal(late.log.count('warn', /every user of this machine can read the key/), 2)
  t.equal(late.certificates.causes()[0], 'the admin certificate expires in 9 days')
  const leaf = issue(folder, 'leaf', { by: ca })
  chmodSync(leaf.key, 0o600)
  const foreign = authority(folder, 'foreign')
  appendFileSync(leaf.cert, readFileSync(foreign.cert))
  t.equal(open(leaf).log.count('warn', /certificate 2 is not the issuer of certificate 1/), 2)

  const self = open(issue(folder, 'self')).certificates
  const trust = ` --cacert ${join(folder, 'self.pem')}`
  const at = (host: string) => `https://${host}:12000`
  t.same(curlTarget(self.query, at('127.0.0.1')), { url: at('127.0.0.1'), options: trust })
  t.same(curlTarget(self.query, at('[::1]')), {
    url: at('node.example'),
    options: `${trust} --connect-to ::[::1]:12000`,
  })
  t.same(curlTarget(null, at('x')), { url: at('x'), options: '' })
  for (const [host, lines] of [
    ['0.0.0.0', 1],
    ['127.0.0.1', 0],
    ['localhost', 0],
    ['::', 1],
  ] as const) {
    const log = new Log()
    warnOfClearText(configOf({ SWITCHYARD_ADMIN_HOST: host }), log)
    t.equal(log.count('warn', /keys travel in clear text/), lines, host)
  }
})

interface Watched {
  readonly log: Log
  readonly certificates: Certificates
  /** The file that serving processes would load. */
  readonly staged: string
  readonly asked: string[]
  readonly port: number
  outcome: ReplaceOutcome
  /** Of those that have the new pair when another could not start with it. */
  undo: (sinceMs: number) => ReplaceOutcome
}

async function watched(t: Test, pair: IssuedPair, more = {}, everyMs = 20): Promise<Watched> {
  const { log, certificates } = open(pair, more)
  const staged = certificates.stage(temporaryDirectory(t)) ?? ''
  const server = await NodeHttpServer.listen(
    {
      ...{ host: '127.0.0.1', port: 0, tlsCert: null, tlsKey: null, connectionsMax: 10 },
      ...{ tls: certificates.adminMaterial(), budget: new BodyBudget(1_000) },
      ...{ version: '0', logger: log },
    },
    (exchange) => exchange.reply({ status: 200, body: '{}' }),
  )
  t.teardown(() => server.close(100))
  const replaced = { kind: 'replaced', processes: 1, ms: 1 } as const
  const asked: string[] = []
  const self: Watched = {
    log,
    certificates,
    staged,
    asked,
    port: server.port,
    outcome: replaced,
    undo: () => replaced,
  }
  const replaceServing = async (sinceMs?: number) => {
    // As a serving process would, at this moment.
    asked.push(readFileSync(staged, 'latin1'))
    return sinceMs === undefined ? self.outcome : self.undo(sinceMs)
  }
  certificates.watch({ replaceServing, secureAdmin: (tls) => server.secure(tls) }, everyMs)
  t.teardown(() => certificates.close())
  return self
}

/** The common name that the listener shows to a new connection; '' when it is turned away. */
function shown(port: number, client: Partial<IssuedPair> = {}): Promise<string> {
  const files =
    client.cert === undefined
      ? {}
      : {
          cert: readFileSync(client.cert),
          key: readFileSync(client.key ?? ''),
        }
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...files })
    let name = ''
    socket.on('secureConnect', () => {
      name = socket.getPeerX509Certificate()?.subject.replace('CN=', '') ?? ''
      socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    })
    socket.on('data', () => resolve(name))
    socket.on('error', () => resolve(''))
    socket.on('close', () => resolve(''))
  })
}

t.test('a renewal, file by file', { skip }, async (t) => {
  const live = join(folder, 'live')
  mkdirSync(live)
  const pair = { cert: join(live, 'cert.pem'), key: join(live, 'key.pem') }
  const put = (from: IssuedPair, part: 'cert' | 'key') => {
    copyFileSync(from[part], `${pair[part]}.new`)
    renameSync(`${pair[part]}.new`, pair[part])
  }
  const before = issue(folder, 'before', { by: ca })
  const after = issue(folder, 'after', { by: ca })
  for (const part of ['cert', 'key'] as const) put(before, part)
  const node = await watched(t, pair)
  const { log, certificates } = node
  t.equal(statSync(node.staged).mode & 0o777, 0o600)
  t.equal(await shown(node.port), 'before')

  put(after, 'cert')
  await until(() => log.count('error', /the old ones stay in use/) === 2)
  t.equal(await shown(node.port), 'before', 'half of a pair is not taken')
  t.same(node.asked, [])
  t.equal(certificates.causes().length, 2)
  await t.rejects(certificates.reload(), {
    code: 'ERR_CERTIFICATE_INVALID',
    message: /^admin: --tls-key .*another certificate.* stays\. query: .* stays$/,
  })
  put(after, 'key')
  await until(() => log.count('info', /the certificate is replaced/) === 2)
  t.equal(await shown(node.port), 'after')
  t.equal(node.asked.length, 1, 'serving processes are replaced once')
  t.ok(node.asked[0]?.includes(readFileSync(after.cert, 'latin1').trim()), 'and find the new one')
  t.same(certificates.causes(), [], 'health is well again')
  t.match(await certificates.reload(), [
    { listener: 'admin', changed: false, subject: 'CN=after' },
    { listener: 'query', changed: false },
  ])
  certificates.close()
  t.notOk(existsSync(node.staged), 'no key is left behind')
})

const noDisk = whyNoSmallDisk() ?? false

t.test('a disk that is full and stays full', { skip: noDisk }, (t) => {
  const disk = smallDisk(t, 8 * 1024 * 1024)
  const reserve = join(disk.path, 'reserve')
  writeFileSync(reserve, Buffer.alloc(64 * 1024, 1))
  const pair = new StagedPair(disk.path)
  pair.write('first')
  pair.discard()
  t.notOk(existsSync(pair.path), 'the reserve is there for the next start')
  disk.fill()
  const full = { code: 'ERR_DISK_FULL' }
  t.throws(() => pair.write('x'.repeat(4096)), full, 'not for a renewal: the old pair serves')
  pair.writeAtStart('x'.repeat(4096))
  t.notOk(existsSync(reserve), 'it is given up')
  t.equal(readFileSync(pair.path, 'latin1').length, 4096)
  disk.fill()
  pair.discard()
  t.ok(existsSync(pair.path), 'there would be no room for it')
  new StagedPair(disk.path).writeAtStart('x'.repeat(4096))
  t.throws(() => pair.writeAtStart('y'.repeat(4096)), full)
  t.equal(readFileSync(pair.path, 'latin1')[0], 'x', 'the one in use stays')
  t.end()
})

t.test('a folder that a link points to is swapped, and swapped back', { skip }, async (t) => {
  for (const name of ['v1', 'v2']) {
    mkdirSync(join(folder, name))
    const made = issue(folder, name, { by: ca })
    copyFileSync(made.cert, join(folder, name, 'tls.crt'))
    copyFileSync(made.key, join(folder, name, 'tls.key'))
  }
  const link = join(folder, 'current')
  const pointTo = (name: string) => {
    symlinkSync(name, `${link}.new`)
    renameSync(`${link}.new`, link)
  }
  pointTo('v1')
  const node = await watched(t, { cert: join(link, 'tls.crt'), key: join(link, 'tls.key') })
  for (const [index, name] of ['v2', 'v1', 'v2'].entries()) {
    pointTo(name)
    await until(() => node.asked.length === index + 1)
    await until(() => node.log.count('info', /is replaced/) === 2 * (index + 1))
    t.equal(await shown(node.port), name)
  }
  t.equal(node.log.count('error', /./), 0, 'no half of a pair was ever seen')
})

t.test('serving processes that cannot start with the new pair', { skip }, async (t) => {
  const pair = issue(folder, 'pair', { by: ca })
  const node = await watched(t, pair)
  const good = readFileSync(node.staged, 'latin1')
  node.outcome = { kind: 'failed', reason: 'it did not listen' }
  const other = issue(folder, 'pair-next', { by: ca })
  // In one turn, so that no look falls in between.
  copyFileSync(other.key, pair.key)
  copyFileSync(other.cert, pair.cert)
  await until(() => node.log.count('error', /the old ones stay/) === 1)
  t.equal(readFileSync(node.staged, 'latin1'), good, 'whatever starts next finds the old pair')
  const looks = node.log.said.length
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.equal(node.asked.length, 1, 'what failed is not tried again and again')
  t.equal(node.log.said.length, looks)
  t.match(node.certificates.causes(), [/query certificate files cannot be used/])
  await t.rejects(node.certificates.reload(), { message: /query: a serving .* it did not listen/ })
  t.equal(node.asked.length, 2, 'unless somebody asks')

  node.outcome = { kind: 'failed', reason: 'no memory', listeningSinceMs: 7 }
  await t.rejects(node.certificates.reload(), { message: /: no memory; .* replaced once more/ })
  t.not(node.asked[2], good)
  t.equal(node.asked[3], good, 'who had the new pair starts anew and finds the old one')
  node.undo = (ms) => ({ kind: 'failed', reason: `none after ${ms}` })
  const all = /no memory; some processes serve with it all the same.*: none after 7; see POST /
  await t.rejects(node.certificates.reload(), { message: all })

  node.outcome = { kind: 'replaced', processes: 1, ms: 1 }
  t.match(await node.certificates.reload(), [{ listener: 'admin' }, { changed: true }])
  t.same(node.certificates.causes(), [])
})

t.test('client certificates', { skip }, async (t) => {
  const clients = authority(folder, 'clients')
  const nextClients = authority(folder, 'clients-next')
  const client = issue(folder, 'operator', { by: clients })
  const next = issue(folder, 'operator-next', { by: nextClients })
  const stranger = issue(folder, 'stranger', { by: authority(folder, 'elsewhere') })
  const caFile = join(folder, 'accepted.pem')
  copyFileSync(clients.cert, caFile)
  const more = { SWITCHYARD_ADMIN_CLIENT_CA: caFile }
  const node = await watched(t, issue(folder, 'server', { by: ca }), more)
  const { options } = curlTarget(node.certificates.admin, 'https://127.0.0.1:1')
  t.match(options, / --cert CLIENT\.pem --key CLIENT\.key$/)
  t.equal(await shown(node.port, client), 'server')
  t.equal(await shown(node.port, stranger), '')
  t.equal(await shown(node.port), '')
  const refusals = node.log.said.filter(({ message }) => /was refused/.test(message))
  t.match(refusals, [{ fields: { subject: 'CN=stranger', reason: /^UNABLE_TO/, others: 0 } }])
  t.equal(refusals.length, 1, 'the log is not filled by who tries again and again')

  const kept = connect({
    ...{ port: node.port, host: '127.0.0.1', rejectUnauthorized: false },
    ...{ cert: readFileSync(client.cert), key: readFileSync(client.key) },
  })
  kept.on('error', () => {})
  kept.resume()
  kept.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  await new Promise((resolve) => kept.once('data', resolve))
  const closed = new Promise((resolve) => kept.once('close', resolve))
  copyFileSync(nextClients.cert, caFile)
  await closed
  t.pass('who is no longer accepted is not served on over an old connection')
  t.equal(await shown(node.port, next), 'server')
  t.equal(await shown(node.port, client), '')
})
