/**
 * Runs a helper program of the import (venv, pip) to its end or its deadline. It sees what children
 * see of the environment, and none of pip's configuration on this machine.
 */

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { messageOf } from '../../core/base/errors.ts'
import type { RuntimeSettings } from '../../core/config/runtimes.ts'

const LINES_KEPT = 10
const LINE_CHARACTERS_MAX = 500

export interface ProgramOptions {
  readonly program: string
  readonly args: readonly string[]
  readonly settings: RuntimeSettings
  readonly timeoutMs: number
  readonly onLine: (line: string) => void
}

export interface ProgramEnd {
  /** `code 0`, `SIGKILL`, or a sentence. */
  readonly how: string
  /** The last lines of what it wrote. */
  readonly last: readonly string[]
}

export function runProgram(options: ProgramOptions): Promise<ProgramEnd> {
  const { settings, timeoutMs, onLine } = options
  const [program = '', ...args] = [
    ...(settings.setpriv === null ? [] : [settings.setpriv, '--pdeathsig', 'KILL', '--']),
    options.program,
    ...options.args,
  ]
  return new Promise((resolve) => {
    const last: string[] = []
    let late = false
    const child = spawn(program, args, {
      env: { ...settings.environment, PIP_CONFIG_FILE: '/dev/null', PYTHONDONTWRITEBYTECODE: '' },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    const timer = setTimeout(() => {
      late = true
      if (child.pid !== undefined) killGroup(child.pid)
    }, timeoutMs)
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        const text = line.trimEnd().slice(0, LINE_CHARACTERS_MAX)
        if (text === '') return
        last.push(text)
        if (last.length > LINES_KEPT) last.shift()
        onLine(text)
      })
    }
    const end = (how: string): void => {
      clearTimeout(timer)
      resolve({
        how: late ? `it was not done after ${Math.round(timeoutMs / 1_000)} s` : how,
        last,
      })
    }
    child.on('error', (error) => end(messageOf(error)))
    child.on('close', (code, signal) => end(signal ?? `code ${code}`))
  })
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It has ended by itself meanwhile.
  }
}
