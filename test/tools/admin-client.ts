/**
 * A client of the admin port for tests: fetch for what is well formed, raw sockets for what is not,
 * and a listener over a control plane whose loads and forging are in memory.
 */

import { readdirSync } from 'node:fs'
import http from 'node:http'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Ajv } from 'ajv'
import type { Test } from 'tap'
import { SCHEMAS, type SchemaName } from '../../admin/routes/schemas.ts'
import type { ErrorCode } from '../../core/base/errors.ts'
import {
  type AdminListener,
  type ControlPlane,
  listenAdmin,
  openControlPlane,
  temporaryDirectory,
} from './control-plane.ts'
import { bundle, type FakeBundle } from './memory-forge.ts'
import { until } from './waiting.ts'

/** What the tests look into; each answer has some of it. */
interface ReplyBody {
  readonly code?: string
  readonly detailedMessage?: string
  readonly faults?: readonly { readonly path: string; readonly reason: string }[]
  readonly generationId?: string
  readonly id?: string
  readonly key?: string
  readonly mapping?: unknown
  readonly endpoints?: unknown
  readonly pools?: unknown
}

export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** Empty when there is none, or none of JSON. */
  readonly body: ReplyBody
}

export interface Admin extends ControlPlane {
  readonly listener: AdminListener
  readonly key: string
  call(method: string, path: string, init?: RequestInit): Promise<Reply>
  upload(path: string, content: FakeBundle, name?: string): Promise<Reply>
}

export async function openAdmin(
  t: Test,
  options: Parameters<typeof listenAdmin>[1] = {},
): Promise<Admin> {
  const plane = await openControlPlane(temporaryDirectory(t))
  t.teardown(() => plane.close())
  const listener = await listenAdmin(plane, options)
  t.teardown(() => listener.close())
  const key = (await plane.operations.ensureAdminKey(null)) ?? ''
  const call = (method: string, path: string, init: RequestInit = {}): Promise<Reply> =>
    send(`${listener.url}${path}`, {
      ...init,
      method,
      headers: { authorization: `Bearer ${key}`, ...init.headers },
    })
  const upload = (path: string, content: FakeBundle, name = 'v1.zip'): Promise<Reply> => {
    const form = new FormData()
    form.set('file', new Blob([bundle(content)]), name)
    return call('POST', path, { body: form })
  }
  return { ...plane, listener, key, call, upload }
}

export async function send(url: string, init: RequestInit = {}): Promise<Reply> {
  const response = await fetch(url, init)
  const text = await response.text()
  const isJson = response.headers.get('content-type') === 'application/json'
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: isJson && text !== '' ? JSON.parse(text) : {},
  }
}

const ajv = new Ajv({ strict: false })

export function fits(t: Test, name: SchemaName, value: unknown): void {
  const validate = ajv.compile(SCHEMAS[name])
  t.ok(validate(value), `a ${name}: ${ajv.errorsText(validate.errors)}`)
}

export function failed(t: Test, reply: Reply, status: number, code: ErrorCode): void {
  t.equal(reply.status, status, `${code} ${reply.text.slice(0, 200)}`)
  t.equal(reply.body.code, code)
  fits(t, 'Error', reply.body)
}

export interface RawRequest {
  readonly port: number
  readonly path: string
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string
}

/** node:http sends what it is told: paths as they are, no Content-Type, forbidden headers. */
export async function request(raw: RawRequest): Promise<{ status: number; text: string }> {
  const { body, ...options } = raw
  const sent = http.request({ host: '127.0.0.1', agent: false, ...options })
  sent.end(body)
  const [status, text] = await answerTo(sent)
  return { status, text }
}

export function answerTo(sent: http.ClientRequest): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    sent.on('error', reject)
    sent.on('response', (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (piece: string) => {
        text += piece
      })
      response.on('end', () => resolve([response.statusCode ?? 0, text]))
    })
  })
}

/** Everything that comes back within a moment, or until the node closes. */
export async function rawExchange(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  let ended = false
  socket.setEncoding('utf8').on('data', (piece: string) => {
    text += piece
  })
  socket.on('close', () => {
    ended = true
  })
  socket.on('error', () => {})
  socket.write(bytes)
  await until(() => ended || text.includes('\r\n\r\n'))
  await sleep(20)
  socket.destroy()
  return text
}

/** Sends half of what it declares and leaves; returns when the node has noticed. */
export async function abortedUpload({ listener, key, home }: Admin): Promise<void> {
  const socket = connect(listener.port, '127.0.0.1')
  const head = [
    'POST /admin/api/services/s/generations HTTP/1.1',
    'Host: x',
    `Authorization: Bearer ${key}`,
    'Content-Type: multipart/form-data; boundary=x',
    'Content-Length: 5000000',
    '',
    '--x',
    'Content-Disposition: form-data; name="file"; filename="a.zip"',
    '',
  ]
  socket.write(`${head.join('\r\n')}\r\n${'z'.repeat(100_000)}`)
  await until(() => readdirSync(home.staging).length > 0)
  socket.destroy()
  await until(() => readdirSync(home.staging).length === 0)
}
