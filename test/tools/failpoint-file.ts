/** The file by which a test arms failpoints of its nodes; see core/base/failpoints.ts. */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { FAILPOINTS_ENV } from '../../core/base/failpoints.ts'
import { readSources } from './source.ts'

/** One line: `POINT ACTION [SKIP]`. */
export type Armed = `${string} ${'kill' | 'throw' | 'enospc' | 'delay'}${'' | ` ${number}`}`

export class FailpointFile {
  readonly path: string
  #armings = 0

  constructor(t: Test) {
    const folder = mkdtempSync(join(tmpdir(), 'switchyard-failpoints-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    this.path = join(folder, 'armed')
    this.disarm()
  }

  /** For the environment of a node. */
  get env(): Readonly<Record<string, string>> {
    return { [FAILPOINTS_ENV]: this.path }
  }

  /** In place of what was armed before; each line acts once. */
  arm(...lines: readonly Armed[]): void {
    this.#armings += 1
    // The number makes it another text, so that the same line acts again.
    writeFileSync(this.path, `${this.#armings}\n${lines.join('\n')}\n`)
  }

  disarm(): void {
    this.arm()
  }

  /** Names of the points that were reached. */
  reached(): ReadonlySet<string> {
    const path = `${this.path}.reached`
    const lines = existsSync(path) ? readFileSync(path, 'utf8').trimEnd().split('\n') : []
    return new Set(lines.map((line) => line.split(' ')[0] ?? ''))
  }
}

/** Every point in the sources, with the file that it stands in. */
export function failpointsInSources(): { readonly name: string; readonly path: string }[] {
  return readSources().flatMap(({ path, text }) =>
    path.startsWith('test/')
      ? []
      : [...text.matchAll(/\bfailpoint\('([^']+)'\)/g)].map(([, name = '']) => ({ name, path })),
  )
}
