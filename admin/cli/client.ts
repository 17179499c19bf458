/**
 * Speaks to a node: JSON both ways, an upload as a stream, TLS with an authority of one's own.
 * node:http and not fetch(), because fetch can neither tell how much of an upload has gone nor be
 * given an authority without another package.
 */

import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { basename } from 'node:path'
import { messageOf } from '../../core/base/errors.ts'
import type { Target } from './connection.ts'
import { CommandFailure, EXIT } from './failures.ts'
import { refusalOf } from './refusals.ts'

/** A machine that does not answer at all; what a node takes for an answer has no limit here. */
const CONNECT_MS = 10_000
/** A node that knows nothing of `100 Continue` gets the file all the same. */
const CONTINUE_MS = 2_000

export interface Reply {
  readonly status: number
  /** Parsed JSON; the text where it is none; null when there is no body. */
  readonly body: unknown
}

interface Sent {
  readonly method: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** Sends the body and ends the request. */
  readonly write: (request: ClientRequest) => void
}

export class ApiClient {
  readonly #target: Target

  constructor(target: Target) {
    this.#target = target
  }

  get url(): URL {
    return this.#target.url
  }

  get hasKey(): boolean {
    return this.#target.key !== null
  }

  /** The query API of the same node, with the same trust and a key of its own. */
  queries(url: URL, key: string | null): ApiClient {
    return new ApiClient({ ...this.#target, api: 'query', url, key })
  }

  async get(path: string): Promise<unknown> {
    return this.body(await this.#send({ method: 'GET', path, write: (request) => request.end() }))
  }

  async post(path: string, body?: unknown): Promise<unknown> {
    return this.body(await this.ask('POST', path, body))
  }

  async patch(path: string, body: unknown): Promise<unknown> {
    return this.body(await this.ask('PATCH', path, body))
  }

  async delete(path: string): Promise<unknown> {
    const write = (request: ClientRequest): void => void request.end()
    return this.body(await this.#send({ method: 'DELETE', path, write }))
  }

  /** The reply as it is, a refusal too. */
  ask(method: string, path: string, body?: unknown): Promise<Reply> {
    const bytes = body === undefined ? '' : JSON.stringify(body)
    const length = { 'content-length': String(Buffer.byteLength(bytes)) }
    const headers = bytes === '' ? length : { ...length, 'content-type': 'application/json' }
    return this.#send({ method, path, headers, write: (request) => request.end(bytes) })
  }

  /** A file as a form, which is what the node's own API calls for. */
  async upload(path: string, file: string, onBytes: (sent: number) => void): Promise<unknown> {
    const { size } = await stat(file)
    const boundary = `switchyard-${randomBytes(16).toString('hex')}`
    const name = encodeURIComponent(basename(file))
    const open = [
      `--${boundary}`,
      `Content-Disposition: form-data; name="file"; filename="${name}"`,
      'Content-Type: application/zip',
    ].join('\r\n')
    const [head, tail] = [`${open}\r\n\r\n`, `\r\n--${boundary}--\r\n`]
    const headers = {
      'content-type': `multipart/form-data; boundary=${boundary}`,
      'content-length': String(size + head.length + tail.length),
      // Nothing is sent of what is refused anyway.
      expect: '100-continue',
    }
    const write = (request: ClientRequest): void => {
      whenAsked(request, () => {
        request.write(head)
        const stream = createReadStream(file)
        let sent = 0
        stream.on('data', (chunk) => {
          sent += chunk.length
          onBytes(sent)
        })
        stream.on('error', (error) => request.destroy(error))
        stream.on('end', () => request.end(tail))
        stream.pipe(request, { end: false })
      })
    }
    return this.body(await this.#send({ method: 'POST', path, headers, write }))
  }

  /** Throws what the node refuses. */
  body(reply: Reply): unknown {
    if (reply.status < 400) return reply.body
    throw refusalOf(reply, this.#target)
  }

  #send({ method, path, headers = {}, write }: Sent): Promise<Reply> {
    const { url, key } = this.#target
    const prefix = url.pathname.replace(/\/+$/, '')
    const options = {
      method,
      agent: false,
      headers: {
        accept: 'application/json',
        ...(key === null ? {} : { authorization: `Bearer ${key}` }),
        ...headers,
      },
    }
    return new Promise((resolve, reject) => {
      const to = new URL(`${prefix}${path}`, url)
      const request =
        url.protocol === 'https:'
          ? httpsRequest(to, { ...options, ...tlsOptions(this.#target) })
          : httpRequest(to, options)
      let answered = false
      withinConnectTime(request)
      request.on('response', (response) => {
        answered = true
        replyOf(response).then(resolve, (error) => reject(unreachable(url, error)))
      })
      request.on('error', (error) => {
        if (!answered) reject(unreachable(url, error))
      })
      write(request)
    })
  }
}

function whenAsked(request: ClientRequest, send: () => void): void {
  let begun = false
  const begin = (): void => {
    clearTimeout(timer)
    if (!begun && !request.destroyed) send()
    begun = true
  }
  const timer = setTimeout(begin, CONTINUE_MS)
  request.once('continue', begin)
  request.once('response', () => {
    clearTimeout(timer)
    begun = true
  })
  request.once('close', () => clearTimeout(timer))
  request.flushHeaders()
}

function withinConnectTime(request: ClientRequest): void {
  const late = new CommandFailure('it does not answer', { exitCode: EXIT.unreachable })
  const timer = setTimeout(() => request.destroy(late), CONNECT_MS)
  request.on('socket', (socket) => {
    const event = 'encrypted' in socket ? 'secureConnect' : 'connect'
    socket.once(event, () => clearTimeout(timer))
  })
  request.on('close', () => clearTimeout(timer))
}

async function replyOf(response: IncomingMessage): Promise<Reply> {
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  const text = Buffer.concat(chunks).toString('utf8')
  return { status: response.statusCode ?? 0, body: parsed(text) }
}

function parsed(text: string): unknown {
  if (text === '') return null
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function tlsOptions({ ca, cert, certKey, insecure }: Target) {
  return {
    ...(ca === null ? {} : { ca }),
    ...(cert === null || certKey === null ? {} : { cert, key: certKey }),
    rejectUnauthorized: !insecure,
  }
}

function unreachable(url: URL, error: unknown): CommandFailure {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const why = WHY[code] ?? messageOf(error)
  const line = `${url.origin} cannot be asked: ${why || code}${cureOf(code)}`
  return new CommandFailure(line, { exitCode: EXIT.unreachable })
}

function cureOf(code: string): string {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return '; call it by a name of its certificate'
  if (/^ERR_OSSL/.test(code)) return '; look at --cert and --cert-key'
  if (/SELF_SIGNED|UNABLE_TO|UNKNOWN_CA/.test(code) && !code.startsWith('ERR_SSL')) {
    return '; name its authority with --ca'
  }
  return ''
}

const WHY: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there; is the node running, and is this its address?',
  ENOTFOUND: 'the name of the machine is not known',
  EAI_AGAIN: 'the name of the machine cannot be looked up',
  ECONNRESET: 'the connection was cut; one of both may speak TLS and the other not',
  EPROTO: 'it does not speak TLS; the address begins with http:// then',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS; the address begins with http:// then',
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'it wants a certificate of yours: --cert, --cert-key',
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: 'it does not trust the certificate of --cert',
}
