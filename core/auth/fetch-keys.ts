/**
 * Fetches the JWK Set of an issuer: no redirects, one bounded answer in bounded time, and only from
 * addresses that the settings allow. The lookup that checks them is the one that the connection is
 * made with, so a name cannot lead elsewhere in between (DNS rebinding).
 */

import { lookup as resolve } from 'node:dns'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { messageOf } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import type { Jwk } from '../config/issuers.ts'
import { LIMITS } from '../config/limits.ts'
import { mayConnect, type Reach } from './addresses.ts'

export interface KeySource {
  readonly url: string
  readonly allowPrivate: boolean
  /** From the first step to the last byte. */
  readonly timeoutMs: number
}

/** Why there are no keys; the message is for the log, for it may tell of the operator's network. */
class NoKeys extends Error {}

/** Kinds of keys that a signature can be checked with by whoever cannot make one. */
const ASYMMETRIC = new Set(['RSA', 'EC', 'OKP'])

/** Throws NoKeys. */
export async function fetchKeys(source: KeySource): Promise<readonly Jwk[]> {
  try {
    const response = await answerOf(source)
    const text = await textOf(response)
    return keysOf(JSON.parse(text))
  } catch (error) {
    if (error instanceof NoKeys) throw error
    throw new NoKeys(messageOf(error))
  }
}

function answerOf({ url, allowPrivate, timeoutMs }: KeySource): Promise<IncomingMessage> {
  const { protocol, hostname } = new URL(url)
  const reach: Reach = { allowPrivate, loopbackOnly: protocol === 'http:' }
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  // Of a number in the place of a name nothing is looked up, so nothing else would check it.
  if (isIP(host) !== 0 && !mayConnect(host, reach)) throw refusedAddress(host)
  const request = protocol === 'http:' ? httpRequest : httpsRequest
  return new Promise((resolvePromise, reject) => {
    const asked = request(url, {
      agent: false,
      lookup: checkedLookup(reach),
      signal: AbortSignal.timeout(timeoutMs),
      headers: { Accept: 'application/jwk-set+json, application/json' },
    })
    asked.once('socket', (socket) => {
      socket.once('connect', () => {
        const address = socket.remoteAddress ?? ''
        if (!mayConnect(address, reach)) socket.destroy(refusedAddress(address))
      })
    })
    asked.on('error', reject)
    asked.on('response', (response) => {
      if (response.statusCode === 200) resolvePromise(response)
      else {
        reject(new NoKeys(`it answered ${response.statusCode ?? 0}; redirects are not followed`))
        response.destroy()
      }
    })
    asked.end()
  })
}

/** Every address that the name has must be allowed: which one is taken is not ours to say. */
function checkedLookup(reach: Reach): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, '')
      const wrong = addresses.find(({ address }) => !mayConnect(address, reach))
      const [first] = addresses
      if (wrong !== undefined) callback(refusedAddress(wrong.address), '')
      else if (first === undefined) callback(new NoKeys('its name has no address'), '')
      else if (options.all === true) callback(null, addresses)
      else callback(null, first.address, first.family)
    })
  }
}

function refusedAddress(address: string): NoKeys {
  return new NoKeys(`its address ${address} is none that may be fetched from; see allowPrivate`)
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength
    if (bytes > LIMITS.issuerKeysBytesMax) {
      response.destroy()
      throw new NoKeys(`its answer is over ${LIMITS.issuerKeysBytesMax} bytes`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Those that may be used; what else is in the set is none of our business. */
function keysOf(value: unknown): readonly Jwk[] {
  const listed: unknown = isObject(value) ? value['keys'] : null
  if (!Array.isArray(listed)) throw new NoKeys('its answer is no JWK Set')
  const keys = listed.filter((key): key is Jwk => isObject(key) && ASYMMETRIC.has(`${key['kty']}`))
  if (keys.length === 0) throw new NoKeys('its JWK Set has no key for signatures')
  return keys.slice(0, LIMITS.issuerKeysMax)
}
