/** What operators and newcomers are told about TLS beside the certificates themselves. */

import { isIP } from 'node:net'
import { resolve } from 'node:path'
import type { Logger } from '../../core/base/logger.ts'
import type { Config } from '../../core/config/config.ts'
import type { ListenerCertificate } from './listener-certificate.ts'

const CLEAR_TEXT = 'THE ADMIN API IS OPEN TO THE NETWORK WITHOUT TLS: keys travel in clear text'

/** Whoever reads an admin key on its way can run models of his own here. */
export function warnOfClearText(config: Config, logger: Logger): void {
  const { adminHost, adminTlsCert, adminPort } = config
  if (adminTlsCert !== null || isLoopback(adminHost)) return
  logger.warn({ adminHost, adminPort }, CLEAR_TEXT)
}

/** How curl calls a listener: a command must work as it is pasted. */
export interface CurlTarget {
  readonly url: string
  /** Each with a blank before it. */
  readonly options: string
}

/**
 * With the certificate itself where no authority vouches for it, and by its own name where the
 * address is not in it.
 */
export function curlTarget(certificate: ListenerCertificate | null, url: string): CurlTarget {
  if (certificate === null) return { url, options: '' }
  const { isSelfSigned, clientCa, names } = certificate.current
  const trust = isSelfSigned ? ` --cacert ${quoted(resolve(certificate.path))}` : ''
  const options = clientCa === null ? trust : `${trust} --cert CLIENT.pem --key CLIENT.key`
  const [, address, host = '', port] = /^https:\/\/(\[?(.+?)\]?:(\d+))$/.exec(url) ?? []
  const name = names.find((one) => isIP(one) === 0 && !one.startsWith('*'))
  if (names.includes(host) || name === undefined) return { url, options }
  return { url: `https://${name}:${port}`, options: `${options} --connect-to ::${address}` }
}

/** For a POSIX shell; quoted only where it must be, as people write it. */
function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`
}

function isLoopback(host: string): boolean {
  const isAddress = isIP(host) !== 0
  return isAddress ? host === '::1' || host.startsWith('127.') : host === 'localhost'
}
