/**
 * Starts the limit of all HTTP servers: uWebSockets.js that answers the bytes of the node, headers
 * included, to whatever it is asked.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { LoadOrder } from './sample.ts'
import { type Server, startServer } from './servers.ts'

export type Question = Pick<LoadOrder, 'url' | 'headers' | 'body'>

interface Reply {
  readonly headers: Headers
  readonly text: string
}

/** One answer of any server of the benchmark; anything but 200 is an error with its name. */
export async function askFor(name: string, question: Question): Promise<Reply> {
  const response = await fetch(question.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...question.headers },
    body: question.body,
  })
  const text = await response.text()
  if (response.status !== 200) throw new Error(`${name}: ${response.status} ${text.slice(0, 300)}`)
  return { headers: response.headers, text }
}

/** Headers that uWebSockets.js or the connection adds by itself. */
const OWN_HEADERS = new Set(['content-length', 'date', 'uwebsockets', 'connection', 'keep-alive'])

/** Gives the constant peer the bytes that the node answers to this question. */
export async function startConstant(question: Question): Promise<Server> {
  const answer = await askFor('node', question)
  const headers = [...answer.headers].filter(([name]) => !OWN_HEADERS.has(name))
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-bench-'))
  const file = join(folder, 'answer.json')
  const content = { headers: Object.fromEntries(headers), body: answer.text }
  writeFileSync(file, JSON.stringify(content))
  try {
    const script = 'bench/peers/constant.ts'
    const constant = await startServer({ name: 'constant', script, args: [file] })
    const url = constant.url + new URL(question.url).pathname
    const copy = await askFor('constant', { ...question, url, headers: {} })
    const names = ({ headers: found }: Reply) => [...found.keys()].sort().join()
    if (copy.text === answer.text && names(copy) === names(answer)) return constant
    await constant.stop()
    throw new Error(`constant answers other bytes: ${names(copy)} for ${names(answer)}`)
  } finally {
    rmSync(folder, { recursive: true })
  }
}
