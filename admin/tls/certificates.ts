/**
 * The certificates of both listeners, from start to stop: checked before anything listens, looked
 * at every ten seconds, replaced without a restart.
 *
 * New connections of the admin port get a new certificate at once. uWebSockets.js cannot exchange
 * the one that it listens with, so for queries new serving processes take the place of the old.
 */

import { AppError } from '../../core/base/errors.ts'
import type { Logger } from '../../core/base/logger.ts'
import type { Config } from '../../core/config/config.ts'
import type { TlsMaterial } from '../../core/http/node-tls.ts'
import type { ReplaceOutcome } from '../contracts.ts'
import { SerialQueue } from '../serial.ts'
import {
  type CertificateSources,
  type CertificateView,
  DAYS_LEFT_MIN,
  ListenerCertificate,
  type ListenerName,
  type UsePair,
} from './listener-certificate.ts'
import type { Pair } from './pair.ts'
import { StagedPair } from './staged-pair.ts'

const LOOK_EVERY_MS = 10_000

/** What new certificates are handed to. */
export interface CertificateUsers {
  /** With a time, of a failed outcome: only what has begun to listen since. */
  readonly replaceServing: (listeningSinceMs?: number) => Promise<ReplaceOutcome>
  readonly secureAdmin: (material: TlsMaterial) => void
}

export interface ReloadedCertificate extends CertificateView {
  readonly listener: ListenerName
  readonly changed: boolean
}

export class Certificates {
  readonly #query: ListenerCertificate | null
  readonly #admin: ListenerCertificate | null
  readonly #reloads = new SerialQueue()
  #staged: StagedPair | null = null
  #users: CertificateUsers | null = null
  #timer: NodeJS.Timeout | null = null

  /** Throws ERR_CERTIFICATE_INVALID with one line for the operator. */
  constructor(config: Config, logger: Logger) {
    const { query, admin } = sourcesOf(config)
    this.#query = query && new ListenerCertificate('query', query, logger)
    this.#admin = admin && new ListenerCertificate('admin', admin, logger)
  }

  /** The file that serving processes load; null where queries are plain HTTP. */
  stage(home: string): string | null {
    if (this.#query === null) return null
    this.#staged = new StagedPair(home)
    this.#staged.writeAtStart(this.#query.current.pem)
    return this.#staged.path
  }

  get query(): ListenerCertificate | null {
    return this.#query
  }

  get admin(): ListenerCertificate | null {
    return this.#admin
  }

  adminMaterial(): TlsMaterial | null {
    return this.#admin && materialOf(this.#admin.current)
  }

  /** From now on changes of the files are seen and taken. */
  watch(users: CertificateUsers, everyMs = LOOK_EVERY_MS): void {
    this.#users = users
    if (this.#query === null && this.#admin === null) return
    this.#timer = setTimeout(() => void this.#look(everyMs), everyMs)
    this.#timer.unref()
  }

  close(): void {
    this.#users = null
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#staged?.discard()
  }

  /** Somebody has new files and does not want to wait; throws the reason when one is no good. */
  async reload(): Promise<ReloadedCertificate[]> {
    const all = this.#listeners()
    if (all.length === 0) throw new AppError('ERR_TLS_OFF', 'see --tls-cert and --tls-key')
    const results = await this.#reloads.run(() => this.#reloadAll(true))
    const refused = results.filter(({ outcome }) => outcome.kind === 'refused')
    if (refused.length > 0) {
      const reasons = results.map(({ certificate, outcome }) =>
        outcome.kind === 'refused'
          ? `${certificate.name}: ${outcome.reason}; the certificate in use stays`
          : `${certificate.name}: ${outcome.kind}`,
      )
      throw new AppError('ERR_CERTIFICATE_INVALID', reasons.join('. '))
    }
    return results.map(({ certificate, outcome }) => ({
      listener: certificate.name,
      changed: outcome.kind === 'reloaded',
      ...certificate.view(),
    }))
  }

  views(): Partial<Record<ListenerName, CertificateView>> {
    return Object.fromEntries(this.#listeners().map((one) => [one.name, one.view()]))
  }

  /** For health, which anyone may ask: without paths. */
  causes(): string[] {
    return this.#listeners().flatMap((one) => {
      const { name, daysLeft, hasFault } = one
      const causes = []
      if (daysLeft < 0) causes.push(`the ${name} certificate has expired`)
      else if (daysLeft < DAYS_LEFT_MIN) {
        causes.push(`the ${name} certificate expires in ${daysLeft} days`)
      }
      if (hasFault) causes.push(`new ${name} certificate files cannot be used; the log says why`)
      return causes
    })
  }

  #listeners(): ListenerCertificate[] {
    // The admin port first: it takes no time, and must not wait for a replacement.
    return [this.#admin, this.#query].filter((one) => one !== null)
  }

  async #look(everyMs: number): Promise<void> {
    const users = this.#users
    await this.#reloads.run(() => this.#reloadAll(false))
    for (const one of this.#listeners()) one.sayDaysLeft()
    if (this.#users !== null && users !== null) this.watch(users, everyMs)
  }

  async #reloadAll(isAsked: boolean) {
    const results = []
    for (const certificate of this.#listeners()) {
      const use = certificate === this.#admin ? this.#useForAdmin : this.#useForQueries
      results.push({ certificate, outcome: await certificate.reload(use, isAsked) })
    }
    return results
  }

  readonly #useForAdmin: UsePair = async (next) => {
    if (this.#users === null) throw new AppError('ERR_STOPPING')
    this.#users.secureAdmin(materialOf(next))
  }

  readonly #useForQueries: UsePair = async (next, before) => {
    if (this.#users === null) throw new AppError('ERR_STOPPING')
    this.#staged?.write(next.pem)
    const { replaceServing } = this.#users
    const outcome = await replaceServing().catch((error: unknown) => {
      // What serves now, and whatever is started in its place, goes on with what worked.
      this.#staged?.write(before.pem)
      throw error
    })
    if (outcome.kind === 'replaced') return
    this.#staged?.write(before.pem)
    const reason = `a serving process could not start with it: ${outcome.reason}`
    const undone = await whatIsUndone(outcome.listeningSinceMs, replaceServing)
    throw new AppError('ERR_CERTIFICATE_INVALID', reason + undone)
  }
}

/** Some processes have the new pair already: they go back to the one that all others have. */
async function whatIsUndone(
  sinceMs: number | undefined,
  replaceServing: CertificateUsers['replaceServing'],
): Promise<string> {
  if (sinceMs === undefined) return ''
  const undo = await replaceServing(sinceMs)
  if (undo.kind === 'replaced') return '; those that had it were replaced once more'
  const what = 'some processes serve with it all the same, and could not be replaced'
  return `; ${what}: ${undo.reason}; see POST /admin/api/actions/replace-serving`
}

function materialOf({ pem, clientCa }: Pair): TlsMaterial {
  return { pem, clientCa }
}

interface Sources {
  readonly query: CertificateSources | null
  readonly admin: CertificateSources | null
}

function sourcesOf(config: Config): Sources {
  const { tlsCert, tlsKey, adminTlsCert, adminTlsKey, adminClientCa } = config
  const isOwn = adminTlsCert !== tlsCert || adminTlsKey !== tlsKey
  const prefix = isOwn ? '--admin-tls' : '--tls'
  const ca = adminClientCa === null ? null : { flag: '--admin-client-ca', path: adminClientCa }
  return {
    query: pairOf('--tls', tlsCert, tlsKey, null),
    admin: pairOf(prefix, adminTlsCert, adminTlsKey, ca),
  }
}

function pairOf(
  prefix: string,
  cert: string | null,
  key: string | null,
  clientCa: CertificateSources['clientCa'],
): CertificateSources | null {
  if (cert === null || key === null) return null
  return {
    cert: { flag: `${prefix}-cert`, path: cert },
    key: { flag: `${prefix}-key`, path: key },
    clientCa,
  }
}
