/**
 * Composition root of control: the process that people and service managers start, signal and wait
 * for. It reads the settings, builds the node, says when it is ready, and ends in order.
 *
 * stdout carries the ready line and, at a terminal, a few words for people; the log goes to stderr.
 */

import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pino from 'pino'
import { nowMs } from '../core/base/clock.ts'
import { AppError } from '../core/base/errors.ts'
import { armFailpoints, FAILPOINTS_ENV } from '../core/base/failpoints.ts'
import type { Logger } from '../core/base/logger.ts'
import { Terminals } from '../core/base/terminals.ts'
import { type Config, type Reading, readConfig } from '../core/config/config.ts'
import { findProgram } from './bundle/child-limits.ts'
import { greetingText } from './greeting.ts'
import { withinOpenFiles } from './open-files.ts'
import { forkServe } from './serving/serve-process.ts'
import { type RunningNode, startNode } from './startup.ts'

const HERE = dirname(fileURLToPath(import.meta.url))
/** Ctrl-C under npm signals twice, once by the terminal and once by npm: that is one wish. */
const SAME_SIGNAL_MS = 500
const WRONG_SETTING = 2

export async function control(): Promise<void> {
  const project = projectFolder()
  const version = versionOf(project)
  const failpoints = takeFailpoints()
  const reading = readConfig({
    argv: process.argv.slice(2),
    env: process.env,
    readFile: (path) => readFileSync(path, 'utf8'),
    cores: availableParallelism(),
    version,
  })
  switch (reading.kind) {
    case 'print':
      process.stdout.write(reading.text)
      return
    case 'wrong':
      process.stderr.write(`switchyard: ${reading.line}\n`)
      process.exitCode = WRONG_SETTING
      return
    case 'run':
      // Before any child starts: a child's environment can be read by all that runs as this user.
      delete process.env['SWITCHYARD_ADMIN_KEY']
      if (failpoints !== null) armFailpoints(failpoints)
      await run(reading, project, version)
  }
}

/** For tests of the project; no child needs to know of it. */
function takeFailpoints(): string | null {
  const path = process.env[FAILPOINTS_ENV] ?? null
  delete process.env[FAILPOINTS_ENV]
  return path
}

type Run = Extract<Reading, { kind: 'run' }>

async function run({ config, unknown }: Run, project: string, version: string): Promise<void> {
  const destination = pino.destination({ dest: 2, sync: true })
  const logger = pino({ level: config.logLevel, base: { role: 'control' } }, destination)
  // Whoever read our output may be gone, as when a terminal is closed; that must not end a node
  // that serves or keep one from stopping in order.
  destination.on('error', () => {})
  process.stdout.on('error', () => {})
  process.stderr.on('error', () => {})
  const end = new End(logger)
  end.listenToSignals()
  for (const variable of unknown) logger.warn({ variable }, 'no setting has this name: ignored')
  try {
    const node = await startNode({
      config: withinOpenFiles(config, logger),
      version,
      logger,
      launch: forkServe({
        entry: join(HERE, '../core/main.js'),
        execArgv: serveExecArgv(),
        env: process.env,
      }),
      forge: childOptions('forge'),
      compiler: childOptions('compile'),
      demoFolder: join(project, 'bench/demo'),
      keyIsShown: process.stdout.isTTY,
      aborted: end.signal,
    })
    end.started(node)
    if (!end.signal.aborted) sayReady(node, config, logger)
  } catch (error) {
    if (end.signal.aborted) {
      logger.info({}, 'stopped before it was ready')
      process.exit(end.code)
    }
    sayWhyNot(error, logger)
    process.exit(1)
  }
}

/** Ends the process, once, whoever asks for it first. */
class End {
  /** Of a code other than 0: a bug asked. */
  code = 0
  readonly #logger: Logger
  readonly #wish = new AbortController()
  readonly #terminals = new Terminals()
  #node: RunningNode | null = null
  #askedMs = 0

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** Aborted when the node is to end; a start under way then ends too. */
  get signal(): AbortSignal {
    return this.#wish.signal
  }

  listenToSignals(): void {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => this.#ask(signal, 0))
    }
    for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
      process.on(event, (error: unknown) => {
        this.#logger.error({ err: error }, `${event}: a bug; the node stops`)
        this.#ask(event, 1)
      })
    }
  }

  started(node: RunningNode): void {
    this.#node = node
    if (this.signal.aborted) void this.#stop(node)
  }

  #ask(reason: string, code: number): void {
    this.code = Math.max(this.code, code)
    if (!this.signal.aborted) {
      this.#askedMs = nowMs()
      this.#wish.abort()
      this.#logger.info({ reason }, 'stopping')
      if (this.#node !== null) void this.#stop(this.#node)
      return
    }
    if (code === 0 && nowMs() - this.#askedMs < SAME_SIGNAL_MS) return
    this.#logger.warn({ reason }, 'asked again: ending at once')
    this.#node?.kill()
    process.exit(1)
  }

  async #stop(node: RunningNode): Promise<void> {
    await node.stop()
    this.#logger.info({}, 'stopped')
    if (this.#terminals.lost) process.kill(process.pid, 'SIGKILL')
    process.exit(this.code)
  }
}

function sayReady(node: RunningNode, config: Config, logger: Logger): void {
  const { url, adminUrl, firstAdminKey, adminCurl } = node
  // A service of that name may be somebody's own where the demo is not wanted.
  const demoCurl = config.demo === false ? null : node.demoCurl
  const ready = { event: 'ready', url, adminUrl, pid: process.pid }
  process.stdout.write(`${JSON.stringify(ready)}\n`)
  if (process.stdout.isTTY) {
    const { metricsPublic } = config
    const texts = { url, adminUrl, firstAdminKey, demoCurl, adminCurl }
    process.stdout.write(greetingText({ ...texts, metricsPublic }))
    if (firstAdminKey !== null) void node.firstKeyWasShown()
  } else if (demoCurl !== null) {
    logger.info({ command: demoCurl }, 'a prediction of the demo service')
  }
}

/** What the user can change is one line; the rest is a bug and keeps its stack. */
function sayWhyNot(error: unknown, logger: Logger): void {
  if (error instanceof AppError) process.stderr.write(`switchyard: ${error.message}\n`)
  else logger.error({ err: error }, 'the start failed')
}

function childOptions(folder: 'forge' | 'compile') {
  const path = process.env['PATH'] ?? ''
  return {
    entry: join(HERE, `../workers/${folder}/main.js`),
    prlimit: findProgram('prlimit', path),
    setpriv: findProgram('setpriv', path),
    env: process.env,
    cores: availableParallelism(),
  }
}

/** Ours, but a debugger's port can be had only once. */
function serveExecArgv(): string[] {
  return process.execArgv.filter((arg) => !arg.startsWith('--inspect'))
}

/** The compiled file is in dist/ or in another build directory, whose package.json is a link. */
function projectFolder(): string {
  let folder = HERE
  while (!existsSync(join(folder, 'package.json')) && dirname(folder) !== folder) {
    folder = dirname(folder)
  }
  return dirname(realpathSync(join(folder, 'package.json')))
}

function versionOf(project: string): string {
  const { version } = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8'))
  return String(version)
}
