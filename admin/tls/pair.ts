/**
 * A certificate chain with its private key: read from the operator's files, checked as a whole, and
 * kept as one text. What was checked is what is used: the files may be half-written by the time
 * that somebody reads them again.
 */

import { createHash, createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { messageOf } from '../../core/base/errors.ts'
import { type PemFile, unusable } from './pem-file.ts'

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g
const PRIVATE_KEY = /-----BEGIN ([A-Z ]*PRIVATE KEY)-----[\s\S]+?-----END \1-----/

export interface PairFiles {
  readonly cert: PemFile
  readonly key: PemFile
  /** Authorities whose clients are let in; null: clients show no certificate. */
  readonly clientCa: PemFile | null
}

export interface Pair {
  /** Key and chain in one PEM text, which can be put in place in one step. */
  readonly pem: string
  readonly clientCa: string | null
  readonly subject: string
  readonly issuer: string
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
  /** SHA-256 of the certificate, as openssl and browsers show it. */
  readonly fingerprint: string
  readonly isSelfSigned: boolean
  /** Names and addresses that it is for. */
  readonly names: readonly string[]
  /** What works, but is likely not what was wanted. */
  readonly warnings: readonly string[]
  /** Changes when anything of the above does. */
  readonly contentId: string
}

/** Throws ERR_CERTIFICATE_INVALID, naming the option, the file and what is wrong with it. */
export function checkPair(files: PairFiles): Pair {
  const { cert, key, clientCa } = files
  const chain = certificatesOf(cert)
  const privateKey = keyOf(key)
  const leaf = leafOf(chain, privateKey, files)
  const keyPem = PRIVATE_KEY.exec(key.text)?.[0] ?? ''
  const pem = `${[keyPem, ...chain.map((one) => one.text)].join('\n')}\n`
  const authorities = clientCa === null ? null : certificatesOf(clientCa)
  const ca = authorities === null ? null : `${authorities.map((one) => one.text).join('\n')}\n`
  try {
    createSecureContext({ cert: pem, key: pem, ...(ca === null ? {} : { ca }) })
  } catch (error) {
    throw unusable(cert, `with ${key.label} it cannot be used: ${messageOf(error)}`)
  }
  return {
    pem,
    clientCa: ca,
    subject: oneLine(leaf.subject),
    issuer: oneLine(leaf.issuer),
    notBefore: Date.parse(leaf.validFrom),
    notAfter: Date.parse(leaf.validTo),
    fingerprint: leaf.fingerprint256,
    isSelfSigned: leaf.checkIssued(leaf),
    names: namesOf(leaf),
    warnings: warningsOf(files, chain),
    contentId: createHash('sha256').update(`${pem}\0${ca}`).digest('hex'),
  }
}

interface Certificate {
  readonly text: string
  readonly x509: X509Certificate
}

function certificatesOf(file: PemFile): Certificate[] {
  const texts = file.text.match(CERTIFICATE) ?? []
  if (texts.length === 0) {
    throw unusable(file, 'holds no whole certificate in PEM form (-----BEGIN CERTIFICATE-----)')
  }
  return texts.map((text, index) => {
    try {
      return { text, x509: new X509Certificate(text) }
    } catch (error) {
      throw unusable(file, `certificate ${index + 1} cannot be read: ${messageOf(error)}`)
    }
  })
}

function keyOf(file: PemFile): KeyObject {
  const text = PRIVATE_KEY.exec(file.text)?.[0]
  if (text === undefined) {
    throw unusable(file, 'holds no whole private key in PEM form (-----BEGIN PRIVATE KEY-----)')
  }
  if (text.includes('ENCRYPTED')) {
    const how = 'write it without one: openssl pkey -in FILE -out NEWFILE'
    throw unusable(file, `the key is encrypted, and nobody is there to type a passphrase; ${how}`)
  }
  try {
    return createPrivateKey(text)
  } catch (error) {
    throw unusable(file, `the private key cannot be read: ${messageOf(error)}`)
  }
}

/** The server's own certificate comes first in its file; everything else is for the way up. */
function leafOf(chain: readonly Certificate[], key: KeyObject, files: PairFiles): X509Certificate {
  const [first] = chain
  if (first?.x509.checkPrivateKey(key) === true) return first.x509
  const at = chain.findIndex(({ x509 }) => x509.checkPrivateKey(key))
  if (at > 0) {
    const order = `certificate ${at + 1} of this file does: it must be the first`
    throw unusable(
      files.cert,
      `its first certificate does not belong to ${files.key.label}; ${order}`,
    )
  }
  const subject = first === undefined ? '' : ` (${oneLine(first.x509.subject)})`
  throw unusable(files.key, `the key is of another certificate than ${files.cert.label}${subject}`)
}

function warningsOf(files: PairFiles, chain: readonly Certificate[]): string[] {
  const warnings: string[] = []
  if (files.key.isReadableByAll) {
    warnings.push(`${files.key.label}: every user of this machine can read the key; chmod 600`)
  }
  const gap = chain.findIndex(({ x509 }, index) => {
    const next = chain[index + 1]
    return next !== undefined && !x509.checkIssued(next.x509)
  })
  if (gap >= 0) {
    const order = `certificate ${gap + 2} is not the issuer of certificate ${gap + 1}`
    warnings.push(`${files.cert.label}: ${order}; some clients will not find the way up`)
  }
  return warnings
}

function namesOf({ subjectAltName }: X509Certificate): string[] {
  const names = (subjectAltName ?? '').split(', ').map((part) => {
    return /^(?:DNS|IP Address):(.+)$/.exec(part)?.[1]
  })
  return names.filter((name) => name !== undefined)
}

/** OpenSSL puts each part of a name on a line of its own. */
function oneLine(name: string): string {
  return name.split('\n').join(', ')
}
