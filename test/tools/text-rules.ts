/**
 * What no file of the project may say: unfinished business, where it was written, whose registry
 * it came from, documents that are not here. Read as text, because comments and JSON count too.
 */

import type { Faults } from './layer-rules.ts'

export interface TextFile {
  readonly path: string
  readonly text: string
}

interface Banned {
  readonly pattern: RegExp
  readonly why: string
}

// With one-letter classes, so that this file passes its own rules.
const BANNED: readonly Banned[] = [
  {
    pattern: /\b(?:TO[D]O|FIX[M]E|X{3}|HA[C]K)\b(?!\))/,
    why: 'unfinished business belongs in an issue',
  },
  { pattern: /(?<![\w.$}-])\/(?:work|root)\/\w/, why: 'a path of one machine' },
  { pattern: /(?<![\w.$}-])\/tmp\/\w/, why: 'a path of one machine; use the system directory' },
  { pattern: /\b(?:registry|npm)\.[\w-]+\.(?:org|com|net|io|local)\b/, why: 'a registry host' },
  { pattern: /\b(?:index\.docker|pypi|crates)\.(?:io|org)\b/, why: 'a registry host' },
  { pattern: /"resolve[d]":/, why: 'a registry host in the lock file' },
  { pattern: /\b(?:[Ii]ssue|[Dd]ecision|[Ff]inding)s? #?\d+\b/, why: 'readers have no such list' },
]

const DOCUMENT = /\b([A-Z][A-Z-]{3,}\.md)\b/g

export function text(file: TextFile, documents: readonly string[]): Faults {
  return file.text.split('\n').flatMap((line, index) => {
    const place = `${file.path}:${index + 1}`
    const words = BANNED.filter((rule) => rule.pattern.test(line))
    const absent = [...line.matchAll(DOCUMENT)].filter(([name]) => !documents.includes(name))
    return [
      ...words.map((rule) => `${place}: ${rule.why}: ${line.match(rule.pattern)?.[0]}`),
      ...absent.map(([name]) => `${place}: names ${name}, which is not here`),
    ]
  })
}
