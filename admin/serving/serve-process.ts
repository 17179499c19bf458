/**
 * One serving process: started by fork, spoken to over its channel, ended by SIGKILL at worst.
 *
 * `Launch` is the seam: a second process for a hand-over, more than one on the port, or one on
 * another machine are further ways to get a ServeHandle.
 */

import { type ChildProcess, fork } from 'node:child_process'
import { nowMs } from '../../core/base/clock.ts'
import { messageOf } from '../../core/base/errors.ts'
import { GARBAGE_FLAGS } from '../../core/base/garbage.ts'
import { type Channel, channelToServe } from '../../core/channel/ipc.ts'
import {
  CHANNEL_VERSION,
  type ServeConfig,
  type ToControl,
  type ToServe,
} from '../../core/channel/messages.ts'

/** The channel of a process that has ended closes at once, unless something else holds it. */
const LAST_REPORT_MS = 250

export interface ServeExit {
  /** `SIGKILL`, `code 1` or why it could not start. */
  readonly how: string
  readonly clean: boolean
  readonly aliveMs: number
}

export interface ServeHandle {
  readonly pid: number | null
  readonly channel: Channel<ToServe, ToControl>
  readonly exited: Promise<ServeExit>
  kill(): void
}

export type Launch = (config: ServeConfig) => ServeHandle

/**
 * glibc learns from what is freed how large a block must be to go back to the system at once, up to
 * 32 MiB. Loading a model frees blocks as large as its matrices, which then stay with each thread.
 * So the size is fixed: large enough that runs of image models do not ask for new pages each time.
 */
export const ALLOCATOR = {
  MALLOC_MMAP_THRESHOLD_: '16777216',
  MALLOC_TRIM_THRESHOLD_: '33554432',
} as const

export interface ForkOptions {
  /** Absolute path of the program's entry. */
  readonly entry: string
  readonly execArgv: readonly string[]
  /** Of control; wins over ALLOCATOR. */
  readonly env: Readonly<Record<string, string | undefined>>
}

export function forkServe(options: ForkOptions): Launch {
  return (config) => {
    const child = forked(options)
    if (typeof child === 'string') return stillborn(child)
    const exited = exitOf(child)
    const channel = channelToServe(child)
    channel.send({ kind: 'configure', channel: CHANNEL_VERSION, config })
    return { pid: child.pid ?? null, channel, exited, kill: () => void child.kill('SIGKILL') }
  }
}

/**
 * Its output joins the log on stderr: control's stdout carries the ready line only. Of a system
 * without memory for one more process Node throws, of other shortages it tells by an event.
 */
function forked({ entry, execArgv, env }: ForkOptions): ChildProcess | string {
  try {
    return fork(entry, ['--role=serve'], {
      execArgv: [...execArgv, ...GARBAGE_FLAGS],
      env: { ...ALLOCATOR, ...env },
      serialization: 'advanced',
      stdio: ['ignore', 2, 2, 'ipc'],
    })
  } catch (error) {
    return messageOf(error)
  }
}

/** A process that never was, for those who will try another one. */
function stillborn(reason: string): ServeHandle {
  const exited = Promise.resolve({ how: reason, clean: false, aliveMs: 0 })
  const channel: ServeHandle['channel'] = {
    send: () => false,
    onMessage: () => {},
    onClose: (callback) => queueMicrotask(callback),
    close: () => {},
  }
  return { pid: null, channel, exited, kill: () => {} }
}

/** Its last report, which may say what it died of, is still on the way when it ends. */
function exitOf(child: ChildProcess): Promise<ServeExit> {
  const startMs = nowMs()
  return new Promise((resolve) => {
    const end = (how: string, clean: boolean): void => {
      const exit = { how, clean, aliveMs: nowMs() - startMs }
      const settle = (): void => resolve(exit)
      if (!child.connected) settle()
      else setTimeout(settle, LAST_REPORT_MS)
      child.once('disconnect', settle)
    }
    child.once('exit', (code, signal) => end(signal ?? `code ${code}`, code === 0))
    // Also for a message that could not be sent; only a process that never ran ends here.
    child.on('error', (error) => {
      if (child.pid === undefined) end(messageOf(error), false)
    })
  })
}
