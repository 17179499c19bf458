#!/usr/bin/env node
/**
 * The `switchyard` command: `npx switchyard backup DIRECTORY` in the project, or `switchyard` where
 * it is installed. Looks at the machine and builds what is missing, as `npm start` does, and runs
 * the program.
 *
 * Plain JavaScript, because it must say what is wrong before anything is compiled or installed.
 */

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const ENTRY = join(ROOT, 'dist', 'core', 'main.js')
const BUILD = join(ROOT, 'test', 'tools', 'build.mjs')

/** stdout belongs to the program's own answer. */
function succeeds(script) {
  return spawnSync(process.execPath, [script], { stdio: ['ignore', 2, 2] }).status === 0
}

const isReady =
  succeeds(join(ROOT, 'core', 'preflight.mjs')) &&
  (existsSync(BUILD) ? succeeds(BUILD) : existsSync(ENTRY))
if (isReady) await import(pathToFileURL(ENTRY).href)
else process.exitCode = 1
