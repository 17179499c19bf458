/** Runs the compiled command line as people do: a process of its own, in a folder of its own. */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { compiled } from '../../bench/paths.ts'

export interface Ran {
  /** Exit code; -1 when a signal ended it. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface Workplace {
  /** Absolute path of a new, empty folder that goes with the test. */
  readonly path: string
  write(name: string, content: string | Buffer): string
  switchyard(...args: readonly string[]): Promise<Ran>
  /** A line of bash in which `switchyard` is the command: for pipes. */
  bash(line: string): Promise<Ran>
  /**
   * The command as a person at a terminal of 60 columns runs it, who types the answer when asked;
   * both outputs are in `stdout`.
   */
  terminal(command: string, answer?: string): Promise<Ran>
  /** For what ends it from outside. */
  start(...args: readonly string[]): ChildProcess
  /** What it printed with `--json`; throws the rest when it did not end well. */
  json(...args: readonly string[]): Promise<ReturnType<typeof JSON.parse>>
}

/**
 * The terminal is kept until this has been seen: `script` leaves ten milliseconds after its
 * command, and what the system has not handed on by then it never shows.
 */
const END = '[over]'
const QUESTION_END = '[y/N] '

export interface Cleaner {
  teardown(callback: () => void): void
}

export function workplace(t: Cleaner, env: Readonly<Record<string, string>> = {}): Workplace {
  const path = mkdtempSync(join(tmpdir(), 'switchyard-command-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  const place = { cwd: path, env: environment(path, env) }
  const program = [process.execPath, compiled('core/main.ts')]
  const switchyard = (...args: readonly string[]): Promise<Ran> => run([...program, ...args], place)
  return {
    path,
    write(name, content) {
      const file = join(path, name)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, content)
      return file
    },
    switchyard,
    bash: (line) => run(['bash', '-c', `${functionOf(program)}; ${line}`], place),
    async terminal(command, answer = '') {
      const line = `${functionOf(program)}; stty cols 60 -echo; switchyard ${command}`
      const whole = `${line}; code=$?; printf '${END}'; read -r _; exit $code`
      const shell = { ...place, env: { ...place.env, SHELL: '/bin/bash' } }
      const words = ['script', '-qec', whole, '/dev/null']
      const ran = await run(words, shell, { [QUESTION_END]: `${answer}\n`, [END]: '\n' })
      return { ...ran, stdout: ran.stdout.replace(END, '') }
    },
    start: (...args) => started([...program, ...args], place),
    json: jsonOf(switchyard),
  }
}

export function jsonOf(switchyard: Workplace['switchyard']): Workplace['json'] {
  return async (...args) => {
    const { code, stdout, stderr } = await switchyard(...args, '--json')
    if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}: ${stderr}${stdout}`)
    return JSON.parse(stdout)
  }
}

/** A developer's own settings must not reach the command, nor tap's. */
export function environment(
  path: string,
  over: Readonly<Record<string, string>>,
): Record<string, string> {
  const kept = Object.entries(process.env).flatMap(([name, value]) =>
    value === undefined || /^(SWITCHYARD_|TAP|NODE_|XDG_)/.test(name) ? [] : [[name, value]],
  )
  return { ...Object.fromEntries(kept), XDG_CONFIG_HOME: join(path, '.config'), ...over }
}

interface Place {
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
}

/** For bash, with the words of the program. */
function functionOf(program: readonly string[]): string {
  return `switchyard() { ${program.map((word) => `'${word}'`).join(' ')} "$@"; }`
}

function started([program = '', ...args]: readonly string[], place: Place) {
  return spawn(program, args, { ...place, stdio: ['ignore', 'pipe', 'pipe'] })
}

/** `replies`: what is typed as soon as a text has been shown. */
function run(
  [program = '', ...args]: readonly string[],
  place: Place,
  replies: Readonly<Record<string, string>> = {},
): Promise<Ran> {
  const left = new Map(Object.entries(replies))
  const stdin = left.size === 0 ? 'ignore' : 'pipe'
  const child = spawn(program, args, { ...place, stdio: [stdin, 'pipe', 'pipe'] })
  child.stdin?.on('error', () => {})
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      said[name] += text
      for (const [shown, reply] of left) {
        if (said.stdout.includes(shown) && left.delete(shown)) child.stdin?.write(reply)
      }
    })
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code: code ?? -1, ...said }))
  })
}
