/**
 * Which names an archive may hold. Names are refused, never repaired: a repaired name is another
 * name than the one that its author sees, and every repair so far had a way around it.
 */

import { MADE_FOLDER } from '../../core/bundle/content.ts'
import { LIMITS } from '../../core/config/limits.ts'

const CONTROL = /\p{Cc}|[\u2028\u2029]/u
/** Marks that turn the reading direction: they make a name look like another one. */
const BIDI = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u
const SHOWN_MAX = 64

/** The text of a name, or null when its bytes are not UTF-8. */
export function decodeName(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return null
  }
}

/** A name as a message may show it: nothing unprintable, and not too long. */
export function showName(name: string): string {
  const hidden = /\p{Cc}|[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu
  const plain = name.replace(hidden, (char) => `\\u${hex4(char.charCodeAt(0))}`)
  return plain.length > SHOWN_MAX ? `${plain.slice(0, SHOWN_MAX)}…` : plain
}

function hex4(code: number): string {
  return code.toString(16).padStart(4, '0')
}

/** Every reason why this name is refused; a directory comes with its closing slash. */
export function nameFaults(name: string): string[] {
  if (name === '' || name === '/') return ['the name is empty']
  const path = name.endsWith('/') ? name.slice(0, -1) : name
  const segments = path.split('/')
  const reasons: string[] = []
  if (name.startsWith('/')) reasons.push('the path is absolute')
  if (/^[A-Za-z]:/.test(name)) reasons.push('the path starts with a drive letter')
  if (name.includes('\\')) reasons.push('the name holds a backslash; use forward slashes')
  if (CONTROL.test(name)) reasons.push('the name holds a control character')
  if (BIDI.test(name)) reasons.push('the name holds a mark of writing direction')
  if (segments.includes('..')) reasons.push('the path leads upwards (..)')
  if (segments.includes('.')) reasons.push('the path holds a "." segment')
  if (!name.startsWith('/') && segments.includes(''))
    reasons.push('the path holds an empty segment')
  if (segments.some(endsBadly)) reasons.push('a segment ends with a dot or a space')
  // In whatever case: two names that differ in it only are one on some file systems.
  if (segments[0]?.toLowerCase() === MADE_FOLDER)
    reasons.push(`${MADE_FOLDER} is the folder of what the node makes`)
  return [...reasons, ...lengthFaults(path, segments)]
}

/** Windows drops such endings, so two names would be one there. */
function endsBadly(segment: string): boolean {
  return /[. ]$/.test(segment) && segment !== '.' && segment !== '..'
}

function lengthFaults(path: string, segments: readonly string[]): string[] {
  const reasons: string[] = []
  if (Buffer.byteLength(path) > LIMITS.bundlePathBytesMax) {
    reasons.push(`the path is longer than ${LIMITS.bundlePathBytesMax} bytes`)
  }
  if (segments.some((segment) => Buffer.byteLength(segment) > LIMITS.bundleNameBytesMax)) {
    reasons.push(`a segment is longer than ${LIMITS.bundleNameBytesMax} bytes`)
  }
  if (segments.length > LIMITS.bundleDepthMax) {
    reasons.push(`the path is deeper than ${LIMITS.bundleDepthMax} levels`)
  }
  return reasons
}

interface Place {
  readonly path: string
  readonly kind: 'file' | 'directory'
  /** Named by an entry of its own, rather than only as a parent of one. */
  explicit: boolean
}

/** All paths seen so far, so that no two of them are the same place on any file system. */
export class NameTable {
  readonly #places = new Map<string, Place>()

  /** Takes a name without faults; answers why it clashes with an earlier one, or null. */
  add(name: string): string | null {
    const isDirectory = name.endsWith('/')
    const path = isDirectory ? name.slice(0, -1) : name
    for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1)) {
      const clash = this.#claim(path.slice(0, slash), 'directory', false)
      if (clash !== null) return clash
    }
    return this.#claim(path, isDirectory ? 'directory' : 'file', true)
  }

  #claim(path: string, kind: Place['kind'], explicit: boolean): string | null {
    const key = folded(path)
    const known = this.#places.get(key)
    if (known === undefined) {
      this.#places.set(key, { path, kind, explicit })
      return null
    }
    if (known.path !== path) {
      const names = `"${showName(path)}" differs from "${showName(known.path)}"`
      return `${names} in case or Unicode form only`
    }
    if (known.kind !== kind) return `"${showName(path)}" is both a file and a directory`
    if (explicit && known.explicit) return 'the name is there twice'
    known.explicit ||= explicit
    return null
  }
}

/** One key for all spellings that a file system may take for the same name. */
function folded(path: string): string {
  return path.normalize('NFC').toUpperCase().toLowerCase().normalize('NFC')
}
