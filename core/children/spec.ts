/**
 * A child process as whoever wants one describes it, and what is said between the thread that
 * speaks to children and the main thread that starts them.
 *
 * The main thread starts them because a child that is to die with its parent dies with the thread
 * that started it. Its streams are connections to a Unix socket on which the asking thread listens:
 * the main thread connects, passes the descriptor on and forgets it, so no byte of a request or of
 * a log line goes through its event loop.
 */

import type { ChildLimits } from '../config/runtimes.ts'

export interface ChildSpec {
  /** For people: "service/generation/endpoint". */
  readonly name: string
  /** Absolute path. */
  readonly program: string
  readonly args: readonly string[]
  /** Directory of the unpacked generation; the child sees its files in its own working folder. */
  readonly directory: string
  /** Added to what all children get. */
  readonly env: Readonly<Record<string, string>>
  /** Whether descriptor 3 is a connection for frames; standard output and error always are one. */
  readonly frames: boolean
  readonly limits: ChildLimits
}

/** From the thread that wants a child. Ids are its own. */
export type ToSpawner =
  | {
      readonly kind: 'spawn'
      readonly id: number
      /** Path of the Unix socket that the thread listens on. */
      readonly socket: string
      /** First bytes of each connection, so that the thread knows whose it is. */
      readonly token: string
      readonly spec: ChildSpec
    }
  /** SIGKILL for the child and all that it started. */
  | { readonly kind: 'kill'; readonly id: number }
  | {
      readonly kind: 'log'
      readonly level: 'info' | 'warn' | 'error'
      readonly fields: Readonly<Record<string, unknown>>
      readonly text: string
    }
  /** The newest state of everything that the thread depends on. */
  | { readonly kind: 'status'; readonly statuses: readonly RuntimeStatus[] }

export type FromSpawner =
  | { readonly kind: 'spawned'; readonly id: number; readonly pid: number }
  /** `SIGKILL`, `code 1`, or why it could not be started; the last message of this id. */
  | { readonly kind: 'exited'; readonly id: number; readonly how: string }

/** One thing that endpoints depend on, for health and metrics. */
export interface RuntimeStatus {
  /** `connection crm`, or `endpoint score`. */
  readonly subject: string
  readonly up: boolean
  /** What is wrong, or what runs: `Python 3.11.2`. */
  readonly detail: string
  /** Connections or children in use, and how many there are. */
  readonly busy: number
  readonly size: number
}

/** First line of each connection: which stream of which child it is. */
export function connectionHead(token: string, id: number, stream: 'frames' | 'output'): string {
  return `${token} ${id} ${stream}\n`
}
