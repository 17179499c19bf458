/**
 * Fields of objects in the config file, read one by one: a wrong value ends the start with one line
 * that names the field, the value and what is allowed.
 */

import { messageOf } from '../base/errors.ts'

export interface FieldSources {
  /** Of the config file, for messages. */
  readonly path: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly readFile: (path: string) => string
}

type Fields = Readonly<Record<string, unknown>>

/** What the config file may call a connection or an issuer, and bundles name it by. */
export const NAME_OF_SETTING = /^[A-Za-z_][A-Za-z0-9_-]{0,62}$/
export const NAME_OF_SETTING_RULE =
  '1 to 63 letters, digits, "_" or "-", starting with a letter or "_"'

/** The message is the line that the operator reads. */
export class WrongField extends Error {}

export function wrongField(sources: FieldSources, at: string, reason: string): WrongField {
  return new WrongField(`${at} in ${sources.path}: ${reason}`)
}

/** Reads the fields of one object of the config file; what it throws names the field. */
export class FieldReader {
  readonly #fields: Fields
  readonly #at: string
  readonly #sources: FieldSources

  constructor(fields: Fields, at: string, sources: FieldSources) {
    this.#fields = fields
    this.#at = at
    this.#sources = sources
  }

  has(name: string): boolean {
    return this.#fields[name] !== undefined
  }

  wrong(name: string, reason: string): WrongField {
    return wrongField(this.#sources, `${this.#at}.${name}"`, reason)
  }

  value(name: string): unknown {
    return this.#fields[name]
  }

  flag(name: string): boolean {
    const value = this.#fields[name] ?? false
    if (typeof value === 'boolean') return value
    throw this.wrong(name, `${JSON.stringify(value)} is not allowed; allowed is true or false`)
  }

  text(name: string): string {
    const value = this.#fields[name]
    if (value === undefined) throw this.wrong(name, 'is missing')
    if (typeof value === 'string' && value !== '' && !value.includes('\0')) return value
    throw this.wrong(name, `${JSON.stringify(value)} is not allowed; allowed is a text`)
  }

  texts(name: string): readonly string[] {
    const value = this.#fields[name]
    const isText = (one: unknown): one is string => typeof one === 'string' && one !== ''
    if (Array.isArray(value) && value.every(isText)) return Object.freeze([...value])
    throw this.wrong(name, `${JSON.stringify(value)} is not allowed; allowed is an array of texts`)
  }

  integer(name: string, preset: number, max: number, min = 1): number {
    const value = this.#fields[name] ?? preset
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) {
      return value
    }
    const allowed = `allowed is an integer from ${min} to ${max}`
    throw this.wrong(name, `${JSON.stringify(value)} is not allowed; ${allowed}`)
  }

  choice<Choice extends string>(
    name: string,
    choices: readonly Choice[],
    preset?: NoInfer<Choice>,
  ): Choice {
    const value = this.#fields[name] ?? preset
    const found = choices.find((choice) => choice === value)
    if (found !== undefined) return found
    const allowed = `allowed is ${choices.join(', ')}`
    if (value === undefined) throw this.wrong(name, `is missing; ${allowed}`)
    throw this.wrong(name, `${JSON.stringify(value)} is not allowed; ${allowed}`)
  }

  variable(name: string): string {
    const variable = this.text(name)
    const value = this.#sources.env[variable]
    if (value === undefined || value === '') {
      throw this.wrong(name, `the environment has no variable ${variable}`)
    }
    return value
  }

  file(name: string): string {
    const path = this.text(name)
    try {
      return this.#sources.readFile(path)
    } catch (error) {
      const reason = messageOf(error).replace(/\s*\n\s*/g, ' ')
      throw this.wrong(name, `the file cannot be read: ${reason}`)
    }
  }
}
