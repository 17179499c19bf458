/** What was given behind the dashes, read by type; what cannot be meant is a wrong usage. */

import { wrongUsage } from './failures.ts'

export class Flags {
  readonly #values: Readonly<Record<string, unknown>>

  /** By the name in camel case, as the parser has them. */
  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values
  }

  isSet(name: string): boolean {
    return this.#values[name] === true
  }

  /** Of `--no-x`. */
  isUnset(name: string): boolean {
    return this.#values[name] === false
  }

  /** Null: not given. */
  text(name: string): string | null {
    const value = this.#values[name]
    return typeof value === 'string' ? value : null
  }

  /** All of an option that may come several times; commas separate too. */
  list(name: string): readonly string[] {
    return this.texts(name)
      .flatMap((text) => text.split(','))
      .filter((text) => text !== '')
  }

  /** As above, each as it was given. */
  texts(name: string): readonly string[] {
    const value = this.#values[name]
    return Array.isArray(value) ? value.map(String) : []
  }

  /** Null: not given. */
  number(name: string): number | null {
    const text = this.text(name)
    if (text === null) return null
    const value = Number(text)
    if (text.trim() === '' || !Number.isFinite(value)) {
      throw wrongUsage(`--${dashed(name)} ${JSON.stringify(text)} is no number`)
    }
    return value
  }
}

function dashed(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}
