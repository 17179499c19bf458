#!/usr/bin/env node
/**
 * The `switchyard` command: `npx switchyard backup DIRECTORY` in the project, or `switchyard` where
 * it is installed. Looks at the machine and builds what is missing, as `npm start` does, and runs
 * the program.
 *
 * Plain JavaScript, because it must say what is wrong before anything is compiled or installed.
 */

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { isFit } from './preflight.mjs'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const ENTRY = join(ROOT, 'dist', 'core', 'main.js')
const BUILD = join(ROOT, 'test', 'tools', 'build.mjs')

/** A release that carries dist/ may come without the tools that build it. */
async function isBuilt() {
  if (!existsSync(BUILD)) return existsSync(ENTRY)
  const { build } = await import(pathToFileURL(BUILD).href)
  return build() === 0
}

if (isFit() && (await isBuilt())) await import(pathToFileURL(ENTRY).href)
else process.exitCode = 1
