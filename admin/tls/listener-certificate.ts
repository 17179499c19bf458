/**
 * The certificate of one listener: the one in use, and what the operator's files hold now. A pair
 * that cannot be used is looked at once more before anybody hears of it, because renewal tools
 * write one file after the other.
 */

import { wallMs } from '../../core/base/clock.ts'
import { messageOf } from '../../core/base/errors.ts'
import type { Logger } from '../../core/base/logger.ts'
import { checkPair, type Pair } from './pair.ts'
import { type PemSource, readPemFile } from './pem-file.ts'

const DAY_MS = 86_400_000
/** Renewal tools renew at 30 days: at 14 theirs has failed for two weeks. */
export const DAYS_LEFT_MIN = 14

export type ListenerName = 'query' | 'admin'

export interface CertificateSources {
  readonly cert: PemSource
  readonly key: PemSource
  readonly clientCa: PemSource | null
}

/** Throws why the pair cannot be put to use; the old one is then in use still. */
export type UsePair = (next: Pair, before: Pair) => Promise<void>

export type ReloadOutcome =
  | { readonly kind: 'unchanged' | 'reloaded' }
  | { readonly kind: 'refused'; readonly reason: string }

/** Of the certificate in use. */
export interface CertificateView {
  readonly subject: string
  readonly issuer: string
  /** Milliseconds since the epoch. */
  readonly notAfter: number
  /** Negative when it has expired. */
  readonly daysLeft: number
  readonly fingerprint: string
}

export class ListenerCertificate {
  readonly name: ListenerName
  readonly #sources: CertificateSources
  readonly #logger: Logger
  #current: Pair
  /** What was wrong at the last look. */
  #fault: string | null = null
  #faultIsSaid = false
  /** Could not be put to use: not tried again until the files change or somebody asks. */
  #refusedId: string | null = null
  #daysSaid: number | null = null

  /** Throws when the files cannot be used: a start has nothing older to go on with. */
  constructor(name: ListenerName, sources: CertificateSources, logger: Logger) {
    this.name = name
    this.#sources = sources
    this.#logger = logger
    this.#current = this.#read()
    for (const warning of this.#current.warnings) logger.warn({ listener: name }, warning)
    this.sayDaysLeft()
  }

  get current(): Pair {
    return this.#current
  }

  get path(): string {
    return this.#sources.cert.path
  }

  get daysLeft(): number {
    return Math.floor((this.#current.notAfter - wallMs()) / DAY_MS)
  }

  /** The files hold what cannot be used. */
  get hasFault(): boolean {
    return this.#faultIsSaid
  }

  view(): CertificateView {
    const { subject, issuer, notAfter, fingerprint } = this.#current
    return { subject, issuer, notAfter, daysLeft: this.daysLeft, fingerprint }
  }

  /** Takes what the files hold now; `isAsked` by a person, who wants to hear what is wrong. */
  async reload(use: UsePair, isAsked: boolean): Promise<ReloadOutcome> {
    try {
      const next = this.#read()
      const isRefused = next.contentId === this.#refusedId && !isAsked
      if (next.contentId !== this.#current.contentId && !isRefused) return this.#try(next, use)
      if (!isRefused) this.#forgetFaults()
      return { kind: 'unchanged' }
    } catch (error) {
      this.#refusedId = null
      return this.#refuse(error, isAsked)
    }
  }

  async #try(next: Pair, use: UsePair): Promise<ReloadOutcome> {
    try {
      await use(next, this.#current)
    } catch (error) {
      // Else the watcher would try for ever what fails every time.
      this.#refusedId = next.contentId
      return this.#refuse(error, true)
    }
    this.#take(next)
    return { kind: 'reloaded' }
  }

  /** Once a day while it is time to act. An expired one is served: some clients accept it. */
  sayDaysLeft(): void {
    const { daysLeft } = this
    const isEarly = this.#current.notBefore > wallMs()
    if (daysLeft === this.#daysSaid || (daysLeft >= DAYS_LEFT_MIN && !isEarly)) return
    this.#daysSaid = daysLeft
    const fields = this.#logFields()
    if (daysLeft < 0) this.#logger.error(fields, 'THE CERTIFICATE HAS EXPIRED: clients refuse it')
    else if (isEarly) this.#logger.error(fields, 'THE CERTIFICATE IS NOT VALID YET')
    else this.#logger.warn(fields, 'the certificate expires soon')
  }

  #read(): Pair {
    const { cert, key, clientCa } = this.#sources
    return checkPair({
      cert: readPemFile(cert),
      key: readPemFile(key),
      clientCa: clientCa === null ? null : readPemFile(clientCa),
    })
  }

  #take(next: Pair): void {
    const before = this.#current.fingerprint
    this.#current = next
    this.#forgetFaults()
    this.#daysSaid = null
    for (const warning of next.warnings) this.#logger.warn({ listener: this.name }, warning)
    this.#logger.info({ ...this.#logFields(), before }, 'the certificate is replaced')
    this.sayDaysLeft()
  }

  #forgetFaults(): void {
    this.#fault = null
    this.#faultIsSaid = false
    this.#refusedId = null
  }

  /** Files that do not fit may be half-written: those are told of when they are so still. */
  #refuse(error: unknown, isSure: boolean): ReloadOutcome {
    const reason = messageOf(error)
    const isStill = this.#fault === reason
    if (!isStill) this.#faultIsSaid = false
    this.#fault = reason
    if (!this.#faultIsSaid && (isStill || isSure)) {
      this.#faultIsSaid = true
      const fields = { listener: this.name, reason, fingerprint: this.#current.fingerprint }
      this.#logger.error(fields, 'new certificate files cannot be used: the old ones stay in use')
    }
    return { kind: 'refused', reason }
  }

  #logFields() {
    const { subject, issuer, notAfter, daysLeft, fingerprint } = this.view()
    const until = new Date(notAfter).toISOString()
    return { listener: this.name, subject, issuer, notAfter: until, daysLeft, fingerprint }
  }
}
