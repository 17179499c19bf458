/**
 * TLS of node:https: what a listener needs of certificates, and a log line for clients that are
 * turned away for want of one.
 */

import { readFileSync } from 'node:fs'
import type { Server } from 'node:https'
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import { nowMs } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'

/** A client that never finishes its handshake holds a connection no longer than this. */
export const HANDSHAKE_MS = 10_000
/** A client that is turned away tries again, and again; one line says so for a while. */
const REFUSALS_EVERY_MS = 10_000

export interface TlsMaterial {
  /** Private key and certificate chain in one PEM text. */
  readonly pem: string
  /** PEM of authorities: only clients with a certificate of theirs are let in; null: all are. */
  readonly clientCa: string | null
}

/** From the files; null where none are named. */
export function tlsOf(paths: {
  readonly tlsCert: string | null
  readonly tlsKey: string | null
}): TlsMaterial | null {
  const { tlsCert, tlsKey } = paths
  if (tlsCert === null || tlsKey === null) return null
  const chain = readFileSync(tlsCert, 'latin1')
  const pem = tlsKey === tlsCert ? chain : `${readFileSync(tlsKey, 'latin1')}\n${chain}`
  return { pem, clientCa: null }
}

export function secureContextOf({ pem, clientCa }: TlsMaterial): SecureContextOptions {
  const pair = { cert: pem, key: pem, minVersion: 'TLSv1.2' } as const
  return clientCa === null ? pair : { ...pair, ca: clientCa }
}

/**
 * Who was turned away, and why. Node forgets the certificate of a client before it tells that it
 * was refused, so it is noted as soon as it has arrived; the one event that gives access to a
 * connection early enough is `keylog`, whose text is not looked at.
 */
export function logRefusals(server: Server, logger: Logger): void {
  const subjects = new WeakMap<TLSSocket, string>()
  const watched = new WeakSet<TLSSocket>()
  server.on('keylog', (_secrets, socket) => {
    if (watched.has(socket)) return
    watched.add(socket)
    socket.prependListener('secure', () => subjects.set(socket, subjectOf(socket)))
  })
  let saidMs = Number.NEGATIVE_INFINITY
  let others = 0
  server.on('tlsClientError', (error, socket) => {
    const reason = refusalOf(error, socket)
    if (reason === null) return
    if (nowMs() - saidMs < REFUSALS_EVERY_MS) {
      others += 1
      return
    }
    const fields = { subject: subjects.get(socket) ?? '', reason, others }
    logger.warn(fields, 'a client without an accepted certificate was refused')
    saidMs = nowMs()
    others = 0
  })
}

/** Null: the handshake failed for another reason, as when somebody speaks plain HTTP. */
function refusalOf(error: Error, socket: TLSSocket): string | null {
  // The types promise an Error; Node sets the code of one.
  const verdict: unknown = socket.authorizationError
  if (verdict !== null && verdict !== undefined) return String(verdict)
  const code = 'code' in error ? error.code : ''
  return code === 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE' ? 'it showed none' : null
}

function subjectOf(socket: TLSSocket): string {
  const subject = socket.getPeerX509Certificate()?.subject ?? ''
  return subject.split('\n').join(', ').slice(0, 200)
}
