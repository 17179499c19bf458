/**
 * Which generation answers a dispatch key: weighted rendezvous hashing.
 *
 * Every generation scores the key on its own and the highest score wins, so a key moves only when
 * its winner loses weight or another gains some: of 0.9/0.1 made 0.8/0.2 a ninth of the larger
 * one's keys move, and none else. Nothing is remembered, so every process agrees, before and after
 * a restart.
 *
 *   u     = (n + 0.5) / 2^52, n = the first 52 bits of SHA-256(generation id, NUL, key) in UTF-8
 *   score = -share / ln(u)
 */

import { hash } from 'node:crypto'
import type { MappingEntry } from '../channel/messages.ts'

const HEX_DIGITS = 13
const RANGE = 2 ** (4 * HEX_DIGITS)

/** Null when nobody has a share. */
export function stickyChoice(dispatchKey: string, entries: readonly MappingEntry[]): string | null {
  let best: string | null = null
  let bestScore = 0
  for (const { generationId, proba } of entries) {
    const score = -proba / Math.log(uniformOf(generationId, dispatchKey))
    // Ids settle what would be a tie, so that the order of the entries never counts.
    if (score > bestScore || (score === bestScore && best !== null && generationId < best)) {
      best = generationId
      bestScore = score
    }
  }
  return best
}

/** Above 0 and below 1. An id holds no NUL, so no two pairs are hashed as one text. */
function uniformOf(generationId: string, dispatchKey: string): number {
  const hex = hash('sha256', `${generationId}\0${dispatchKey}`, 'hex').slice(0, HEX_DIGITS)
  return (Number.parseInt(hex, 16) + 0.5) / RANGE
}
