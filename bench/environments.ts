/**
 * The Python environments of the peers: one each, since their needs exclude each other, with every
 * package pinned in bench/peers/requirements/. Made by `npm run bench -- --setup`, found by the
 * hash of the pins, so that new pins make a new one.
 */

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { cacheFolder } from './cache.ts'
import { ROOT } from './paths.ts'

const run = promisify(execFile)

export const ENVIRONMENTS = ['fastapi', 'mlserver', 'bentoml', 'pytriton'] as const
export type Environment = (typeof ENVIRONMENTS)[number]

function requirementsFile(name: Environment): string {
  return join(ROOT, 'bench/peers/requirements', `${name}.txt`)
}

/** `name` -> exact version. A line that pins nothing would install another peer every month. */
export function pinsOf(text: string): ReadonlyMap<string, string> {
  const lines = text.split('\n').map((line) => line.trim())
  return new Map(
    lines
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => {
        const [, name, version] = /^([\w.-]+)==([\w.+!-]+)$/.exec(line) ?? []
        if (name === undefined || version === undefined) {
          throw new RangeError(`"${line}" is no pin of the form name==version`)
        }
        return [name.toLowerCase(), version] as const
      }),
  )
}

export function environmentPins(name: Environment): ReadonlyMap<string, string> {
  return pinsOf(readFileSync(requirementsFile(name), 'utf8'))
}

function folderOf(name: Environment): string {
  const hash = createHash('sha256')
    .update(readFileSync(requirementsFile(name)))
    .digest('hex')
  return join(cacheFolder(), 'python', `${name}-${hash.slice(0, 12)}`)
}

/** Path of a program of an environment; null when it has not been made. */
export function programOf(name: Environment, program: string): string | null {
  const folder = folderOf(name)
  return existsSync(join(folder, 'ready')) ? join(folder, 'bin', program) : null
}

/** Triton brings a library of Python's own from the system, which fits no other interpreter. */
const SYSTEM_PYTHON = '/usr/bin/python3'

function interpreterOf(name: Environment, python: string): string {
  return name === 'pytriton' && existsSync(SYSTEM_PYTHON) ? SYSTEM_PYTHON : python
}

/** Does nothing where the environment is there. */
export async function installEnvironment(name: Environment, python: string): Promise<void> {
  if (programOf(name, 'python') !== null) return
  const folder = folderOf(name)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  await run(interpreterOf(name, python), ['-m', 'venv', folder])
  const install = ['install', '--quiet', '--no-deps', '-r', requirementsFile(name)]
  await run(join(folder, 'bin/python'), ['-m', 'pip', ...install])
  writeFileSync(join(folder, 'ready'), '')
}
