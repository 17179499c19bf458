/**
 * Where the benchmark and the tests find the project and the compiled programs that they start.
 * Both run compiled, and a build directory may lie anywhere: its package.json may be a link.
 */

import { existsSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Root of the build that is running: dist/, or wherever the compiler wrote. */
const BUILD = dirname(dirname(fileURLToPath(import.meta.url)))

const MANIFEST = [BUILD, dirname(BUILD)]
  .map((folder) => join(folder, 'package.json'))
  .find((path) => existsSync(path))

/** Absolute path of the directory that holds package.json, core/, bench/ and the others. */
export const ROOT = MANIFEST === undefined ? process.cwd() : dirname(realpathSync(MANIFEST))

/** Compiled counterpart of a source file: `core/main.ts` -> its .js. */
export function compiled(source: string): string {
  return join(BUILD, source.replace(/\.ts$/, '.js'))
}
