/** What operators and newcomers are told about TLS beside the certificates themselves. */

import { isIP } from 'node:net'
import { resolve } from 'node:path'
import type { Logger } from '../../core/base/logger.ts'
import type { Config } from '../../core/config/config.ts'
import type { ListenerCertificate } from './listener-certificate.ts'

const CLEAR_TEXT =
  'THE ADMIN API IS OPEN TO THE NETWORK WITHOUT TLS: keys travel in clear text; see --admin-tls-cert'

/** Whoever reads an admin key on its way can run models of his own here. */
export function warnOfClearText(config: Config, logger: Logger): void {
  const { adminHost, adminTlsCert, adminPort } = config
  if (adminTlsCert !== null || isLoopback(adminHost)) return
  logger.warn({ adminHost, adminPort }, CLEAR_TEXT)
}

/** The options, with a blank before them, that let curl accept the certificate; or nothing. */
export function curlOptions(certificate: ListenerCertificate | null): string {
  if (certificate === null) return ''
  const { isSelfSigned, clientCa } = certificate.current
  // Quoted only where a shell needs it, as people write it.
  const path = resolve(certificate.path)
  const file = /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`
  const trust = isSelfSigned ? ` --cacert ${file}` : ''
  return clientCa === null ? trust : `${trust} --cert CLIENT.pem --key CLIENT.key`
}

function isLoopback(host: string): boolean {
  const isAddress = isIP(host) !== 0
  return isAddress ? host === '::1' || host.startsWith('127.') : host === 'localhost'
}
