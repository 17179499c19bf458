/**
 * Composition root of the commands that are run instead of the node. stdout carries the answer,
 * stderr what a person wants to see meanwhile and the reason of a failure.
 */

import { readFileSync } from 'node:fs'
import { availableParallelism, homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { assetPath } from '../../core/base/assets.ts'
import { askedOf } from './asking.ts'
import { EXIT } from './failures.ts'
import { runCommandLine } from './run.ts'
import { commands } from './table.ts'

const WORKERS = join(dirname(fileURLToPath(import.meta.url)), '../../workers')

export async function runCommand(): Promise<void> {
  const argv = process.argv.slice(2)
  // Digests of keys and models are nobody else's business; a bundle is its author's.
  if (argv[0] !== 'bundle') process.umask(0o077)
  let isCut = false
  process.stdout.on('error', (error) => {
    // Whoever reads us may have read enough. All else, such as a full disk, has cost an answer.
    if ('code' in error && error.code === 'EPIPE') return
    isCut = true
    process.exitCode = EXIT.failed
    process.stderr.write(`switchyard: the answer cannot be written: ${error.message}\n`)
  })
  process.stderr.on('error', () => {})
  process.once('SIGINT', endLine)
  const exitCode = await runCommandLine({
    rows: commands(),
    argv,
    shell: {
      env: process.env,
      cores: availableParallelism(),
      version: JSON.parse(readFileSync(assetPath('package.json'), 'utf8')).version,
      homeFolder: homedir(),
      stdin: process.stdin,
      out: (text) => process.stdout.write(text),
      err: (text) => process.stderr.write(text),
      columns: process.stderr.isTTY ? process.stderr.columns : null,
      ask: process.stdin.isTTY && process.stderr.isTTY ? ask : null,
      forgeEntry: join(WORKERS, 'forge/main.js'),
      draftEntry: join(WORKERS, 'drafts/main.js'),
    },
  })
  if (!isCut) process.exitCode = exitCode
}

async function ask(question: string): Promise<boolean> {
  process.stderr.write(question)
  return askedOf(process.stdin)
}

/** Ctrl-C stands behind a progress bar or a question: the prompt of the shell gets its own line. */
function endLine(): void {
  if (process.stderr.isTTY) process.stderr.write('\n')
  process.kill(process.pid, 'SIGINT')
}
