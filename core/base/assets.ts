/**
 * Where the files are that the compiler does not copy: scripts that other interpreters run lie
 * beside the sources, while the code that wants them runs from the build's folder.
 */

import { existsSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Absolute path of a file of the project, e.g. `workers/python/harness.py`. */
export function assetPath(relative: string): string {
  return join(projectFolder(), relative)
}

let project: string | null = null

function projectFolder(): string {
  project ??= find(dirname(fileURLToPath(import.meta.url)))
  return project
}

/** A build elsewhere has a link to the project's package.json, so the link's aim is what counts. */
function find(from: string): string {
  for (let folder = from; ; folder = dirname(folder)) {
    const file = join(folder, 'package.json')
    if (existsSync(file)) return dirname(realpathSync(file))
    if (folder === dirname(folder)) throw new Error(`no package.json above ${from}`)
  }
}
