/** Certificates for tests, made by openssl: authorities, and what they sign. */

import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** False, or why tests that need certificates are skipped. */
export const withoutOpenssl =
  spawnSync('openssl', ['version']).status === 0
    ? false
    : 'openssl is not installed: there are no certificates'

export interface IssuedPair {
  readonly cert: string
  readonly key: string
}

export interface Wishes {
  /** Negative: it has expired. */
  readonly days?: number
  readonly kind?: 'ec' | 'rsa' | 'ed25519'
  readonly by?: IssuedPair
}

const KINDS = {
  ec: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'],
  rsa: ['-newkey', 'rsa:2048'],
  ed25519: ['-newkey', 'ed25519'],
}

export function openssl(...args: string[]): string {
  return execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** An authority; its certificate signs itself. */
export function authority(folder: string, name: string): IssuedPair {
  const pair = pathsOf(folder, name)
  const files = ['-keyout', pair.key, '-out', pair.cert, '-days', '30', '-nodes']
  openssl('req', '-x509', ...KINDS.ec, ...files, '-subj', `/CN=${name}`)
  return pair
}

/** A pair for 127.0.0.1; without an authority the certificate signs itself. */
export function issue(folder: string, name: string, wishes: Wishes = {}): IssuedPair {
  const { days = 30, kind = 'ec', by } = wishes
  const pair = pathsOf(folder, name)
  const request = join(folder, `${name}.csr`)
  openssl(
    ...['req', '-new', ...KINDS[kind], '-nodes', '-subj', `/CN=${name}`],
    ...['-keyout', pair.key, '-out', request],
  )
  const extensions = join(folder, 'extensions.cnf')
  if (!existsSync(extensions))
    writeFileSync(extensions, 'subjectAltName=IP:127.0.0.1,DNS:node.example\n')
  const signer =
    by === undefined
      ? ['-signkey', pair.key]
      : ['-CA', by.cert, '-CAkey', by.key, '-CAcreateserial']
  openssl(
    ...['x509', '-req', '-in', request, ...signer, '-days', String(days)],
    ...['-extfile', extensions, '-out', pair.cert],
  )
  return pair
}

function pathsOf(folder: string, name: string): IssuedPair {
  return { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) }
}
