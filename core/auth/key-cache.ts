/**
 * The keys of one issuer, as they were last fetched. Whoever is signed by a key that is here never
 * waits: old keys go on being used while new ones are fetched behind them, and while the issuer is
 * down, for a bounded time. A key that is not here is asked for once in a while, so that tokens
 * with made-up key ids cannot make the node ask without end.
 */

import { nowMs } from '../base/clock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { IssuerSettings, Jwk } from '../config/issuers.ts'
import { LIMITS } from '../config/limits.ts'
import { fetchKeys } from './fetch-keys.ts'

export interface KeyTimes {
  /** Keys that are older are fetched again, behind the requests. */
  readonly freshMs: number
  /** Keys that are older open nothing: so long a node goes on without its issuer. */
  readonly keptMs: number
  /** Least time between two fetches that requests cause. */
  readonly coolDownMs: number
  /** The same, after one that has failed. */
  readonly retryMs: number
  readonly timeoutMs: number
}

export const KEY_TIMES: KeyTimes = Object.freeze({
  freshMs: LIMITS.issuerKeysFreshMs,
  keptMs: LIMITS.issuerKeysKeptMs,
  coolDownMs: LIMITS.issuerCoolDownMs,
  retryMs: LIMITS.issuerRetryMs,
  timeoutMs: LIMITS.issuerFetchMs,
})

export interface KeyCacheOptions {
  readonly settings: IssuerSettings
  readonly times: KeyTimes
  readonly logger: Logger
  /** The keys are others than before, or are none any more. */
  readonly onKeys: (keys: readonly Jwk[]) => void
  /** The issuer has gone down or has come back. */
  readonly onChange: () => void
}

export class KeyCache {
  readonly #options: KeyCacheOptions
  readonly #isFixed: boolean
  #text = ''
  #has = false
  #fetchedMs = 0
  #triedMs = Number.NEGATIVE_INFINITY
  #fetching: Promise<void> | null = null
  #isDown = false

  constructor(options: KeyCacheOptions) {
    this.#options = options
    this.#isFixed = options.settings.keys !== null
    if (options.settings.keys !== null) this.#keep(options.settings.keys)
  }

  /** The last fetch has failed. */
  get isDown(): boolean {
    return this.#isDown
  }

  /**
   * For every request, also of tokens that are known: keys that are old are fetched behind it, keys
   * that are too old are dropped. False when there are none.
   */
  look(): boolean {
    if (this.#isFixed || !this.#has) return this.#has
    const ageMs = nowMs() - this.#fetchedMs
    if (ageMs <= this.#options.times.freshMs) return true
    if (this.#mayTry()) void this.#fetch()
    if (ageMs <= this.#options.times.keptMs) return true
    this.#drop()
    return false
  }

  /** Waits for the first keys; throws ERR_ISSUER_DOWN. */
  async ready(): Promise<void> {
    if (this.look()) return
    if (this.#fetching !== null || this.#mayTry()) await this.#fetch()
    if (!this.#has) throw this.#down()
  }

  /**
   * A token names a key that is not here: looks once more, if the last time is not too near. Throws
   * ERR_ISSUER_DOWN when nobody can tell whether the issuer has the key.
   */
  async refetch(): Promise<void> {
    if (this.#isFixed) return
    if (this.#fetching !== null || this.#mayTry()) await this.#fetch()
    if (this.#isDown) throw this.#down()
  }

  #mayTry(): boolean {
    const { coolDownMs, retryMs } = this.#options.times
    const pauseMs = this.#isDown ? retryMs : coolDownMs
    return this.#fetching === null && nowMs() - this.#triedMs >= pauseMs
  }

  #fetch(): Promise<void> {
    this.#fetching ??= this.#fetchOnce().finally(() => {
      this.#fetching = null
    })
    return this.#fetching
  }

  async #fetchOnce(): Promise<void> {
    const { settings, times, logger } = this.#options
    const { name, jwksUrl, allowPrivate } = settings
    this.#triedMs = nowMs()
    try {
      const source = { url: jwksUrl ?? '', allowPrivate, timeoutMs: times.timeoutMs }
      this.#keep(await fetchKeys(source))
      this.#say(false)
    } catch (error) {
      logger.warn({ issuer: name, reason: messageOf(error) }, 'keys of an issuer: not fetched')
      this.#say(true)
    }
  }

  /** The same keys again change nothing for tokens that were found good. */
  #keep(keys: readonly Jwk[]): void {
    this.#fetchedMs = nowMs()
    this.#has = true
    const text = JSON.stringify(keys)
    if (text === this.#text) return
    this.#text = text
    this.#options.onKeys(keys)
  }

  #drop(): void {
    this.#has = false
    this.#text = ''
    this.#options.onKeys([])
  }

  #say(isDown: boolean): void {
    if (this.#isDown === isDown) return
    this.#isDown = isDown
    this.#options.onChange()
  }

  #down(): AppError {
    return new AppError('ERR_ISSUER_DOWN', `issuer "${this.#options.settings.name}"`)
  }
}
