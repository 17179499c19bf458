/**
 * The hash of what a bundle holds. The forge takes it while it unpacks, and whoever wants to know
 * later whether the files are still the same takes it again.
 */

import { createHash } from 'node:crypto'

/** Folder below a generation's directory for what the forge makes; no bundle may have one. */
export const MADE_FOLDER = '.switchyard'

export interface ContentFile {
  /** Relative, with forward slashes. */
  readonly path: string
  readonly size: number
  readonly sha256: string
}

/** One hash of all files, whatever archive they came in: decides "the same content". */
export function contentSha256(files: readonly ContentFile[]): string {
  const lines = files.map((file) => `${JSON.stringify(file.path)} ${file.size} ${file.sha256}\n`)
  return createHash('sha256').update(lines.sort().join('')).digest('hex')
}
