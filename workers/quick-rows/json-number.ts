/**
 * JSON numbers straight from bytes, without a text for each. Every result is the double that is
 * nearest to what is written, as JSON.parse gives it; what cannot be told for certain is not read.
 *
 * Up to 15 digits and a power of ten up to 22 are exact doubles, so one operation rounds once
 * (Clinger, "How to read floating point numbers accurately", 1990). Up to 19 digits are kept as the
 * sum of two doubles and divided in twice the precision (Dekker, "A floating-point technique for
 * extending the available precision", 1971), which tells all but near ties.
 */

const MINUS = 0x2d
const PLUS = 0x2b
const POINT = 0x2e
const ZERO = 0x30
const LOWER_E = 0x65

const HIGH_DIGITS = 15
const DIGITS_MAX = 19
const POWERS = Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`))
/** Splits a double of 53 bits into two halves. */
const SPLITTER = 2 ** 27 + 1
/** More than the error of a quotient's second half, relative to it. */
const DOUBT = 2 ** -40

export class JsonNumbers {
  /** Behind the number that was read last. */
  end = 0
  /** The digits that were read last, without point: the first 15, and up to 4 behind them. */
  #high = 0
  #low = 0
  #count = 0

  /** NaN: there is none at this place, or not one that can be read here. */
  read(bytes: Uint8Array, at: number): number {
    const isNegative = bytes[at] === MINUS
    const start = isNegative ? at + 1 : at
    this.#high = 0
    this.#low = 0
    this.#count = 0
    let pos = this.#digits(bytes, start)
    // JSON writes no zero before other digits.
    if (pos === start || (bytes[start] === ZERO && pos > start + 1)) return Number.NaN
    let exponent = 0
    if (bytes[pos] === POINT) {
      const fraction = pos + 1
      pos = this.#digits(bytes, fraction)
      if (pos === fraction) return Number.NaN
      exponent = fraction - pos
    }
    this.end = pos
    if (((bytes[pos] ?? 0) | 0x20) === LOWER_E) exponent += this.#exponent(bytes, pos + 1)
    const value = this.#value(exponent)
    return isNegative ? -value : value
  }

  /** Takes digits up to the first that is none, and returns where that is. */
  #digits(bytes: Uint8Array, at: number): number {
    let pos = at
    let high = this.#high
    let low = this.#low
    let count = this.#count
    for (;;) {
      const digit = (bytes[pos] ?? 0) - ZERO
      if (digit < 0 || digit > 9) break
      if (count < HIGH_DIGITS) high = high * 10 + digit
      else low = low * 10 + digit
      // Zeros in front are no digits of the number.
      if (count > 0 || digit > 0) count += 1
      pos += 1
    }
    this.#high = high
    this.#low = low
    this.#count = count
    return pos
  }

  /** NaN where it is none, or too large to matter here. */
  #exponent(bytes: Uint8Array, at: number): number {
    const sign = bytes[at]
    const start = sign === MINUS || sign === PLUS ? at + 1 : at
    let pos = start
    let exponent = 0
    for (;;) {
      const digit = (bytes[pos] ?? 0) - ZERO
      if (digit < 0 || digit > 9) break
      exponent = exponent * 10 + digit
      pos += 1
    }
    this.end = pos
    if (pos === start) return Number.NaN
    return sign === MINUS ? -exponent : exponent
  }

  /** The digits times a power of ten. */
  #value(exponent: number): number {
    const count = this.#count
    const high = this.#high
    if (count <= HIGH_DIGITS) {
      if (exponent === 0) return high
      if (exponent < 0) return exponent >= -22 ? high / power(-exponent) : Number.NaN
      return exponent <= 22 ? high * power(exponent) : Number.NaN
    }
    if (count > DIGITS_MAX || !(exponent <= 0 && exponent >= -22)) return Number.NaN
    return quotient(high, power(count - HIGH_DIGITS), this.#low, power(-exponent))
  }
}

function power(exponent: number): number {
  return POWERS[exponent] ?? Number.NaN
}

/** (high × scale + low) / divisor, rounded once; NaN where it is too near a tie to tell. */
function quotient(high: number, scale: number, low: number, divisor: number): number {
  const product = high * scale
  const rest = productError(high, scale, product) + low
  const whole = product + rest
  if (divisor === 1) return whole
  const wholeError = rest - (whole - product)
  const first = whole / divisor
  const back = first * divisor
  const remainder = whole - back - productError(first, divisor, back) + wholeError
  const second = remainder / divisor
  const least = first + second * (1 - DOUBT)
  return least === first + second * (1 + DOUBT) ? least : Number.NaN
}

/** What rounding took from `product` = a × b. */
function productError(a: number, b: number, product: number): number {
  const wideA = a * SPLITTER
  const highA = wideA - (wideA - a)
  const lowA = a - highA
  const wideB = b * SPLITTER
  const highB = wideB - (wideB - b)
  const lowB = b - highB
  return lowA * lowB - (product - highA * highB - lowA * highB - highA * lowB)
}
