/**
 * A real browser for tests: Debian's Chromium without a window, driven over a pipe by its own
 * protocol (Chrome DevTools), so that no library is needed. Each page notes what it logs as wrong
 * and every address that it asks.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import type { Test } from 'tap'
import { until } from './waiting.ts'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome']
/** A busy machine starts it in seconds. */
const WAIT_MS = 60_000

const program = NAMES.find((name) => spawnSync(name, ['--version']).status === 0)

/** False, or why tests that need a browser are skipped. */
export const withoutBrowser =
  program === undefined ? 'no Chromium is installed: nothing is tried in a browser' : false

type Json = ReturnType<typeof JSON.parse>

/** One side of the pipe: JSON texts that end with a NUL. */
class Protocol {
  readonly #send: Writable
  readonly #waiting = new Map<
    number,
    { resolve: (value: Json) => void; reject: (why: Error) => void }
  >()
  readonly #listeners = new Map<string, (method: string, params: Json) => void>()
  #last = 0
  #rest = ''

  constructor(send: Writable, receive: Readable) {
    this.#send = send
    send.on('error', () => {})
    receive.setEncoding('utf8').on('data', (text: string) => {
      const parts = (this.#rest + text).split('\0')
      this.#rest = parts.pop() ?? ''
      for (const part of parts) this.#receive(JSON.parse(part))
    })
  }

  call(method: string, params: object = {}, sessionId?: string): Promise<Json> {
    this.#last += 1
    const id = this.#last
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#send.write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
    })
  }

  listen(sessionId: string, listener: (method: string, params: Json) => void): void {
    this.#listeners.set(sessionId, listener)
  }

  #receive({ id, method, params, result, error, sessionId }: Json): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (error !== undefined) waiting?.reject(new Error(error.message))
    else if (id !== undefined) waiting?.resolve(result)
    else this.#listeners.get(sessionId)?.(method, params)
  }
}

export class Page {
  /** What a developer would see in red, oldest first. */
  readonly errors: string[] = []
  /** Addresses that were asked for, without those that hold their data themselves. */
  readonly asked: string[] = []
  readonly #call: (method: string, params?: object) => Promise<Json>

  constructor(call: (method: string, params?: object) => Promise<Json>) {
    this.#call = call
  }

  note(method: string, params: Json): void {
    if (method === 'Runtime.exceptionThrown') {
      const { text, exception } = params.exceptionDetails
      this.errors.push(`${text} ${exception?.description ?? ''}`)
    } else if (method === 'Runtime.consoleAPICalled' && params.type === 'error') {
      this.errors.push(params.args.map((one: Json) => one.value ?? one.description).join(' '))
    } else if (method === 'Log.entryAdded' && params.entry.level === 'error') {
      this.errors.push(`${params.entry.text} ${params.entry.url ?? ''}`)
    } else if (method === 'Network.requestWillBeSent') {
      const { url } = params.request
      if (!url.startsWith('data:')) this.asked.push(url)
    }
  }

  /** The value of an expression, awaited when it is a promise. */
  async evaluate(expression: string): Promise<Json> {
    const how = { expression, awaitPromise: true, returnByValue: true, userGesture: true }
    const { result, exceptionDetails } = await this.#call('Runtime.evaluate', how)
    if (exceptionDetails === undefined) return result.value
    throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
  }

  /** Waits until an expression is true in the page. */
  async until(expression: string): Promise<void> {
    await until(async () => (await this.evaluate(`Boolean(${expression})`)) === true, WAIT_MS)
  }

  /** For people; a test that looks at pictures breaks with every font. */
  async screenshot(path: string): Promise<void> {
    const { data } = await this.#call('Page.captureScreenshot', { captureBeyondViewport: true })
    writeFileSync(path, Buffer.from(data, 'base64'))
  }
}

export interface Browser {
  /** Settles when the address has loaded. */
  open(url: string): Promise<Page>
}

/** Ends with the test. */
export function startBrowser(t: Test): Browser {
  if (program === undefined) throw new Error(String(withoutBrowser))
  const profile = mkdtempSync(join(tmpdir(), 'switchyard-browser-'))
  const child = spawn(program, [...FLAGS, `--user-data-dir=${profile}`, 'about:blank'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    detached: true,
  })
  t.teardown(() => end(child, profile))
  const [, , , send, receive] = child.stdio
  const protocol = new Protocol(send as Writable, receive as Readable)
  return { open: (url) => openPage(protocol, url) }
}

const FLAGS = [
  '--headless',
  '--remote-debugging-pipe',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-default-apps',
  '--disable-extensions',
  '--window-size=1280,1600',
]

async function openPage(protocol: Protocol, url: string): Promise<Page> {
  const { targetId } = await protocol.call('Target.createTarget', { url: 'about:blank' })
  const { sessionId } = await protocol.call('Target.attachToTarget', { targetId, flatten: true })
  const call = (method: string, params: object = {}) => protocol.call(method, params, sessionId)
  const page = new Page(call)
  protocol.listen(sessionId, (method, params) => page.note(method, params))
  for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await call(`${domain}.enable`)
  const { errorText } = await call('Page.navigate', { url })
  if (errorText !== undefined) throw new Error(`${url}: ${errorText}`)
  await page.until(`document.readyState === 'complete'`)
  return page
}

/** All of its processes are in a group of their own. */
async function end(child: ChildProcess, profile: string): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve))
  const isOver = child.exitCode !== null || child.signalCode !== null
  if (child.pid !== undefined && !isOver) {
    process.kill(-child.pid, 'SIGKILL')
    await ended
  }
  rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
}
