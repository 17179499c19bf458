/**
 * How often an address has come with keys or tokens that open nothing. Secrets are too long to be
 * guessed; but whoever tries, or has forgotten an old key in a loop, is told to slow down, and is
 * seen in the metrics as what he is. Only failures are counted and refused: behind one address
 * there may be many callers, and whoever has the right key gets in at any time.
 */

import { nowMs } from '../base/clock.ts'
import { AppError, Refusal } from '../base/errors.ts'
import { LIMITS } from '../config/limits.ts'

export interface WrongKeysLimits {
  /** Failures of an address in a window that are answered as what they are. */
  readonly failuresMax: number
  readonly windowMs: number
  /** Addresses that are known at once; beyond, all counts begin anew. */
  readonly addressesMax: number
}

const DEFAULTS: WrongKeysLimits = {
  failuresMax: LIMITS.wrongKeysMax,
  windowMs: LIMITS.wrongKeysMs,
  addressesMax: LIMITS.wrongKeyAddressesMax,
}

export class WrongKeys {
  readonly #limits: WrongKeysLimits
  readonly #failures = new Map<string, number>()
  #endMs = 0

  constructor(limits: WrongKeysLimits = DEFAULTS) {
    this.#limits = limits
  }

  /** What to answer in the place of `error`, which is counted where it is about a wrong secret. */
  judge<Thrown>(error: Thrown, address: string): Thrown | AppError {
    if (!(error instanceof AppError) || !isWrongSecret(error)) return error
    const leftMs = this.#window()
    const count = (this.#failures.get(address) ?? 0) + 1
    this.#failures.set(address, count)
    if (count <= this.#limits.failuresMax) return error
    const seconds = String(Math.max(1, Math.ceil(leftMs / 1000)))
    return new Refusal('ERR_AUTH_LIMITED', `try again in ${seconds} s`, { 'Retry-After': seconds })
  }

  /** What is left of the window in which we are; a new one begins with all counts at 0. */
  #window(): number {
    const now = nowMs()
    if (now >= this.#endMs || this.#failures.size >= this.#limits.addressesMax) {
      this.#failures.clear()
      this.#endMs = now + this.#limits.windowMs
    }
    return this.#endMs - now
  }
}

function isWrongSecret({ code }: AppError): boolean {
  return code === 'ERR_AUTH_UNKNOWN' || code === 'ERR_TOKEN_INVALID'
}
