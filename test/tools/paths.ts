/**
 * Where the project is. Tests run compiled, from dist/ or from any other build directory whose
 * package.json is a link, so the place of the running file says nothing by itself: the real path
 * of the nearest package.json does.
 */

import { existsSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

function projectRoot(start: string): string {
  let folder = start
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder)
    if (parent === folder) return process.cwd()
    folder = parent
  }
  return dirname(realpathSync(join(folder, 'package.json')))
}

/** Absolute path of the directory that holds package.json, core/, workers/ and the others. */
export const ROOT = projectRoot(dirname(fileURLToPath(import.meta.url)))

/** Compiled counterpart of a source file, beside the test that asks: `admin/control.ts` -> .js. */
export function compiled(source: string): string {
  return join(BUILD, source.replace(/\.ts$/, '.js'))
}

/** Root of the build that is running: dist/, or wherever tsc was told to write. */
const BUILD = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** The material shared by the issues (models to test with), or null where it was not handed out. */
export const SHARED = existsSync(join(ROOT, '../shared')) ? join(ROOT, '../shared') : null
