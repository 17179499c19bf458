/** Values as people type them: `age=41,plan=basic`, JSON, or a file of JSON behind an `@`. */

import { messageOf } from '../../core/base/errors.ts'
import type { Shell } from './command.ts'
import { readText, textOf } from './connection.ts'
import { wrongUsage } from './failures.ts'
import { isRecord } from './fields.ts'

export type Values = Readonly<Record<string, unknown>>

/** `a=1,b=x` or a JSON object. */
export function valuesOf(text: string, from: string): Values {
  if (text.trimStart().startsWith('{')) {
    const value = jsonOf(text, from)
    if (isRecord(value)) return value
  }
  const values: Record<string, unknown> = {}
  for (const part of partsOf(text)) {
    const at = part.indexOf('=')
    if (at < 1) {
      const how = 'write name=value,name=value or a JSON object'
      throw wrongUsage(`${from}: ${JSON.stringify(part)} has no name; ${how}`)
    }
    values[part.slice(0, at).trim()] = typedValue(part.slice(at + 1))
  }
  return values
}

/** JSON, `@file`, or `-` for stdin, which is `@-` to those who know curl. */
export async function dataOf(shell: Shell, text: string): Promise<unknown> {
  if (text === '-' || text === '@-') return jsonOf(await textOf(shell.stdin), 'stdin')
  if (text.startsWith('@')) return jsonOf(await readText(text.slice(1)), text.slice(1))
  const isFile = /^[\w./-]*\.json$/.test(text)
  if (isFile) throw wrongUsage(`--data ${text}: the content of a file is --data @${text}`)
  return jsonOf(text, '--data')
}

/** What is JSON is meant so: numbers, true, null, "quoted"; all else is text. */
function typedValue(text: string): unknown {
  const trimmed = text.trim()
  if (!/^(-?\d|"|\[|\{|true$|false$|null$)/.test(trimmed)) return trimmed
  try {
    return JSON.parse(trimmed)
  } catch {
    return trimmed
  }
}

/** Split at commas, but not within quotes or brackets. */
function partsOf(text: string): string[] {
  const parts: string[] = []
  let [part, depth, quoted] = ['', 0, false]
  for (const [i, letter] of [...text].entries()) {
    if (letter === '"' && text[i - 1] !== '\\') quoted = !quoted
    else if (!quoted && '[{'.includes(letter)) depth += 1
    else if (!quoted && ']}'.includes(letter)) depth -= 1
    if (letter === ',' && !quoted && depth <= 0) {
      parts.push(part)
      part = ''
    } else part += letter
  }
  parts.push(part)
  return parts.filter((one) => one.trim() !== '')
}

function jsonOf(text: string, from: string): unknown {
  if (text.trim() === '') throw wrongUsage(`${from} is empty`)
  try {
    return JSON.parse(text)
  } catch (error) {
    throw wrongUsage(`${from} is not JSON: ${messageOf(error)}`)
  }
}
