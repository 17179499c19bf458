/**
 * Finds callers who ask on and on and read nothing. uWebSockets.js keeps their answers in memory
 * without end, restarts the time-out with each request, and says nothing of it after end(); only
 * tryEnd() tells whether an earlier answer still waits, and is dearer.
 *
 * So all but predictions are given by tryEnd(), and of these a few a second, whoever asked; once
 * somebody is found, all are for a moment. What such callers can gather before is what the node
 * answers in a small part of a second, however many they are.
 */

import { nowMs } from '../base/clock.ts'
import { LIMITS } from '../config/limits.ts'

/** A character takes up to four bytes. */
export const AT_ONCE_CHARS = LIMITS.answerBytesAtOnce / 4

const EVERY_MS = 250
const LOOKS = 16
/** Who was found is seldom alone. */
const CAREFUL_MS = 1_000

export class Looks {
  /** Longer answers do not simply go out: those that are large, or all while looks are due. */
  atOnceChars = AT_ONCE_CHARS
  #left = 0
  #carefulUntilMs = 0
  #timer: NodeJS.Timeout | null = null

  start(): void {
    this.#timer ??= setInterval(() => this.due(), EVERY_MS).unref()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  due(): void {
    this.#left = LOOKS
    this.atOnceChars = -1
  }

  /** One answer was looked at. */
  looked(isHoarding: boolean): void {
    if (isHoarding) this.#carefulUntilMs = nowMs() + CAREFUL_MS
    this.#left -= 1
    if (this.#left <= 0 && nowMs() >= this.#carefulUntilMs) this.atOnceChars = AT_ONCE_CHARS
  }
}
