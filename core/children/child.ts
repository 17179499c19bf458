/**
 * One child process from its folder to the removal of all that it leaves. It never throws: whatever
 * goes wrong is how it ended.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { constants, writeFile } from 'node:fs'
import { access } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { messageOf } from '../base/errors.ts'
import type { RuntimeSettings } from '../config/runtimes.ts'
import { commandOf, environmentOf } from './command.ts'
import type { Guard, Guarded } from './guard.ts'
import { signal, threadsOfUser } from './processes.ts'
import { connectionHead, type FromSpawner, type ToSpawner } from './spec.ts'
import type { Sweeper } from './survivors.ts'
import { makeWorkingFolder, removeWorkingFolder, type WorkingFolder } from './working-folder.ts'

const CONNECT_MS = 5_000
/** When memory runs out the kernel is to choose a child before it chooses the node. */
const OOM_SCORE = '500'

export type SpawnRequest = Extract<ToSpawner, { kind: 'spawn' }>

export interface ChildOptions {
  readonly request: SpawnRequest
  readonly settings: RuntimeSettings
  /** Of its folder and its mark. */
  readonly prefix: string
  readonly tell: (message: FromSpawner) => void
  readonly sweeper: Sweeper
  readonly guard: Guard
  /** How many live now, itself included. */
  readonly count: () => number
  readonly failed: (fields: object, text: string) => void
}

export class Child {
  readonly #options: ChildOptions
  #process: ChildProcess | null = null
  /** Why it is ended before its time; null: nobody asked. */
  #reason: string | null = null
  /** Settles when nothing is left of it: processes, descriptors, files. */
  readonly gone: Promise<void>

  constructor(options: ChildOptions) {
    this.#options = options
    this.gone = this.#live()
  }

  kill(reason = 'SIGKILL'): void {
    this.#reason ??= reason
    const pid = this.#process?.pid
    if (pid === undefined) return
    signal(-pid, 'SIGKILL')
    // It may have moved itself to another group of its session.
    signal(pid, 'SIGKILL')
  }

  async #live(): Promise<void> {
    const { request, prefix, sweeper, tell, failed } = this.#options
    let folder: WorkingFolder | null = null
    let how: string
    try {
      folder = await makeWorkingFolder(prefix, request.spec.directory)
      how = await this.#run(folder)
    } catch (error) {
      how = `it cannot be started: ${messageOf(error)}`
    }
    tell({ kind: 'exited', id: request.id, how })
    if (folder === null) return
    await sweeper.sweep(folder.root)
    await removeWorkingFolder(folder).catch((error: unknown) => {
      failed({ folder: folder.root, reason: messageOf(error) }, 'a folder cannot be removed')
    })
  }

  async #run(folder: WorkingFolder): Promise<string> {
    const { request, settings } = this.#options
    const { spec } = request
    await access(spec.program, constants.X_OK)
    const threadsMax = await this.#threadsMax()
    const command = await commandOf({ spec, settings, threadsMax })
    const streams: Socket[] = []
    try {
      streams.push(await openStream(request, 'output'))
      if (spec.frames) streams.push(await openStream(request, 'frames'))
      if (this.#reason !== null) return this.#reason
      const [output, frames] = streams
      this.#process = spawn(command.program, command.args, {
        cwd: folder.work,
        env: environmentOf(spec, settings, folder),
        stdio: ['ignore', output, output, ...(frames === undefined ? [] : [frames])],
        detached: true,
      })
    } finally {
      // The child has descriptors of its own; with ours open nobody would see it close them.
      for (const stream of streams) stream.destroy()
    }
    return this.#watch(this.#process, folder)
  }

  #watch(process: ChildProcess, folder: WorkingFolder): Promise<string> {
    const { request, guard, tell } = this.#options
    const { processesMax } = request.spec.limits
    return new Promise((ended) => {
      process.on('error', (error) => ended(`it cannot be started: ${error.message}`))
      const { pid } = process
      if (pid === undefined) return
      const over = (): void => this.kill(`SIGKILL: more than ${processesMax} processes`)
      const guarded: Guarded = { pid, mark: folder.root, processesMax, over }
      guard.add(guarded)
      process.on('exit', (code, name) => {
        guard.remove(guarded)
        // What it started in its own group goes at once, the rest by its mark.
        signal(-pid, 'SIGKILL')
        this.#process = null
        ended(name === null ? `code ${code}` : (this.#reason ?? name))
      })
      writeFile(`/proc/${pid}/oom_score_adj`, OOM_SCORE, () => {})
      tell({ kind: 'spawned', id: request.id, pid })
    })
  }

  /** Children share the user's count, so each leaves room for what the others may add. */
  async #threadsMax(): Promise<number | null> {
    const { settings, request, count } = this.#options
    const uid = process.getuid?.() ?? 0
    if (uid === 0 || settings.prlimit === null) return null
    return (await threadsOfUser(uid)) + request.spec.limits.processesMax * count()
  }
}

/** A connection to the thread that asked, with its first line sent and nothing of it read. */
function openStream(request: SpawnRequest, stream: 'frames' | 'output'): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(request.socket)
    // What comes in is for the child: this process must not take a byte of it.
    socket.pause()
    const timer = setTimeout(() => {
      socket.destroy(new Error('its streams could not be connected in time'))
    }, CONNECT_MS)
    socket.on('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    socket.write(connectionHead(request.token, request.id, stream), () => {
      clearTimeout(timer)
      resolve(socket)
    })
  })
}
