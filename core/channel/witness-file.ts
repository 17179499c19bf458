/**
 * Serve's end of the witness: notes each running batch before a thread can get it, and takes the
 * note back after. Nothing is synced: what was written survives the process, and that is enough.
 */

import { closeSync, openSync, writeSync } from 'node:fs'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { emptyWitness, recordOf, WITNESS_RECORD_BYTES, WITNESS_RECORDS } from './witness.ts'

/** What enter() gives when nothing was noted. */
const NOT_NOTED = -1
const EMPTY = Buffer.from(' ')

export class WitnessFile {
  readonly #logger: Logger
  readonly #free = Array.from({ length: WITNESS_RECORDS }, (_, record) => record)
  #file: number | null

  private constructor(file: number, logger: Logger) {
    this.#file = file
    this.#logger = logger
  }

  /** Empties the file. Null when it cannot be had: serving goes on without. */
  static open(path: string, logger: Logger): WitnessFile | null {
    try {
      const file = openSync(path, 'w', 0o600)
      // Its whole size at once, so that a disk that fills up later cannot stop the notes.
      writeSync(file, emptyWitness(), 0)
      return new WitnessFile(file, logger)
    } catch (error) {
      logger.warn({ path, reason: messageOf(error) }, 'runs are not noted')
      return null
    }
  }

  /** A batch of this subject is about to run. More runs than there are records go unnoted. */
  enter(subject: string): number {
    if (this.#file === null) return NOT_NOTED
    const record = this.#free.pop()
    if (record === undefined) return NOT_NOTED
    this.#write(record, recordOf(subject))
    return record
  }

  /** The batch that enter() gave this record for has ended. */
  leave(record: number): void {
    if (record === NOT_NOTED) return
    this.#free.push(record)
    this.#write(record, EMPTY)
  }

  #write(record: number, bytes: Uint8Array): void {
    if (this.#file === null) return
    try {
      writeSync(this.#file, bytes, 0, bytes.length, record * WITNESS_RECORD_BYTES)
    } catch (error) {
      this.#logger.warn({ reason: messageOf(error) }, 'runs are not noted any more')
      closeSync(this.#file)
      this.#file = null
    }
  }
}
