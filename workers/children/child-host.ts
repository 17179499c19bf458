/**
 * Where a runtime gets its child processes from: the main thread of serve does it for the io
 * thread, the forge does it for itself.
 */

import type { Duplex, Readable } from 'node:stream'
import type { ChildSpec } from '../../core/children/spec.ts'

export interface RunningChild {
  readonly pid: number
  /** Descriptor 3 of the child; null where the spec wants none. */
  readonly frames: Duplex | null
  /** What it and all that it started write to standard output and error. */
  readonly output: Readable
  /** `SIGKILL`, `code 1`; settles when the process has ended. */
  readonly exited: Promise<string>
  /** Asks the running call to end; does nothing when the child is gone. */
  interrupt(signal: 'SIGUSR1' | 'SIGINT'): void
  /** SIGKILL for it and all that it started. */
  kill(): void
}

export interface ChildHost {
  /** Rejects with a sentence when it cannot be started. */
  start(spec: ChildSpec): Promise<RunningChild>
  /** Kills what is left, and stops listening. */
  close(): Promise<void>
}
