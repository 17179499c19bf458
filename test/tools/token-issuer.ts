/** An issuer of tokens on loopback, with all that may be wrong with one. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import type { Test } from 'tap'

export const ISSUER = 'https://login.example.com/'
export const AUDIENCE = 'switchyard'

type Signer = Awaited<ReturnType<typeof generateKeyPair>>

export interface SigningKey {
  readonly kid: string
  readonly alg: string
  readonly pair: Signer
}

export async function newKey(kid: string, alg = 'ES256'): Promise<SigningKey> {
  return { kid, alg, pair: await generateKeyPair(alg, { extractable: true }) }
}

export async function publicJwk({ kid, alg, pair }: SigningKey): Promise<object> {
  return { ...(await exportJWK(pair.publicKey)), kid, alg, use: 'sig' }
}

export interface TokenWish {
  readonly claims?: Readonly<Record<string, unknown>>
  /** Seconds from now; null: none. */
  readonly endsInS?: number | null
  readonly header?: object
}

let tokens = 0

/** Each is another one, so that none is known from before. */
export function sign({ kid, alg, pair }: SigningKey, wish: TokenWish = {}): Promise<string> {
  const { claims = {}, endsInS = 300, header = {} } = wish
  tokens += 1
  const all = { iss: ISSUER, aud: AUDIENCE, sub: 'somebody', jti: `${tokens}`, ...claims }
  const token = new SignJWT(all).setProtectedHeader({ alg, kid, ...header })
  const now = Math.floor(Date.now() / 1_000)
  if (endsInS !== null) token.setExpirationTime(now + endsInS)
  return token.sign(pair.privateKey)
}

export type Behaviour =
  | 'answers'
  | 'refuses'
  | 'is silent'
  | 'redirects'
  | 'says nonsense'
  | 'has no keys'
  | 'has secrets'
  | 'says too much'

export class TokenIssuer {
  keys: readonly SigningKey[]
  behaviour: Behaviour = 'answers'
  /** Requests so far. */
  asked = 0
  #server: Server | null = null
  #url = ''

  constructor(keys: readonly SigningKey[]) {
    this.keys = keys
  }

  get url(): string {
    return this.#url
  }

  /** With a certificate and its key it speaks TLS. */
  async open(t: Test, tls?: { readonly cert: Buffer; readonly key: Buffer }): Promise<this> {
    const answer = (_: IncomingMessage, response: ServerResponse) => void this.#answer(response)
    const server = tls === undefined ? createServer(answer) : createSecureServer(tls, answer)
    this.#server = server
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    this.#url = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}/jwks`
    t.teardown(() => this.close())
    return this
  }

  /** Nobody listens there any more. */
  async close(): Promise<void> {
    const server = this.#server
    this.#server = null
    if (server === null) return
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }

  async #answer(response: ServerResponse): Promise<void> {
    this.asked += 1
    if (this.behaviour === 'is silent') return
    if (this.behaviour === 'redirects') {
      response.writeHead(302, { Location: `${this.#url}/elsewhere` }).end()
      // Whoever follows asks again, and is answered.
      this.behaviour = 'answers'
      return
    }
    if (this.behaviour === 'refuses') response.statusCode = 500
    response.setHeader('Content-Type', 'application/json')
    response.end(await this.#text())
  }

  async #text(): Promise<string> {
    switch (this.behaviour) {
      case 'says nonsense':
        return '<html>'
      case 'has no keys':
        return '{"keys":[]}'
      case 'has secrets':
        return JSON.stringify({ keys: [{ kty: 'oct', kid: 'a', alg: 'HS256', k: 'c2VjcmV0' }] })
      case 'says too much':
        return `{"keys":[],"padding":"${'x'.repeat(1_000_000)}"}`
      default:
        return JSON.stringify({ keys: await Promise.all(this.keys.map(publicJwk)) })
    }
  }
}
