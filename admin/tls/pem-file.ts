/** One file of an operator that holds certificates or a key, with how it was named for messages. */

import { readFileSync, type Stats, statSync } from 'node:fs'
import { AppError, messageOf } from '../../core/base/errors.ts'

/** A bundle of all authorities of an operating system is a quarter of this. */
const BYTES_MAX = 1024 * 1024
const OTHERS_MAY_READ = 0o004

export interface PemSource {
  /** `--tls-cert`. */
  readonly flag: string
  readonly path: string
}

export interface PemFile {
  /** `--tls-cert server.pem`. */
  readonly label: string
  readonly text: string
  readonly isReadableByAll: boolean
}

/**
 * Links are followed, as renewal tools swap those. At once and whole, since these are small; what
 * is no ordinary file is refused, because it could keep its reader waiting for ever.
 */
export function readPemFile({ flag, path }: PemSource): PemFile {
  const label = `${flag} ${path}`
  const { found, text } = readSmallFile(path, label)
  return { label, text, isReadableByAll: (found.mode & OTHERS_MAY_READ) !== 0 }
}

export function unusable(file: Pick<PemFile, 'label'>, reason: string): AppError {
  return new AppError('ERR_CERTIFICATE_INVALID', `${file.label}: ${reason}`)
}

function readSmallFile(path: string, label: string): { found: Stats; text: string } {
  try {
    const found = statSync(path)
    if (!found.isFile()) throw new AppError('ERR_CERTIFICATE_INVALID', 'is no file')
    if (found.size > BYTES_MAX) {
      throw new AppError('ERR_CERTIFICATE_INVALID', `is larger than ${BYTES_MAX} bytes`)
    }
    return { found, text: readFileSync(path, 'latin1') }
  } catch (error) {
    throw unusable({ label }, messageOf(error))
  }
}
