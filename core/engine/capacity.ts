/**
 * What has to leave memory so that something else can come in; pure.
 *
 * What an operator asks for never takes the memory of what is in use: it is refused, with figures.
 * For a request somebody waits, and everybody shall be answered: when nothing rests, what has been
 * in memory for a while gives way though it is in use, and its requests wait in turn.
 */

import type { Capacity, SharedBytes } from '../channel/messages.ts'

/** What was not used for so long is at rest. */
export const RESTING_MS = 10_000
/** Memory that was had with a load is kept at least so long, or nothing but loads would happen. */
export const STAY_MS = 1_000

/** What something takes of memory. */
export interface Size {
  readonly bytes: number
  /** Counted once, however many have it. */
  readonly shared: readonly SharedBytes[]
}

export interface Occupant extends Size {
  /** False: it must be in memory. */
  readonly mayGo: boolean
  /** Nobody is routed to it; it is there for a rollback. */
  readonly isPrevious: boolean
  /** Some request has a lease on it. */
  readonly isBusy: boolean
  /** Monotonic clock. */
  readonly usedMs: number
  readonly loadedMs: number
  /** The lower, the sooner it makes room. */
  readonly rank: number
}

export interface Wish extends Size {
  /** A request waits for it; else an operator does. */
  readonly isForRequest: boolean
}

export type Room<Item> =
  | { readonly kind: 'room'; readonly evict: readonly Item[] }
  /** Not now, but something may rest, or has been there for long enough, in a moment. */
  | { readonly kind: 'later' }
  | { readonly kind: 'none'; readonly reason: string }

/** Whether it comes in beside the others without any of them leaving. */
export function fits(capacity: Capacity, others: readonly Size[], one: Size): boolean {
  const { generationsMax, bytesMax } = capacity
  if (generationsMax !== null && others.length + 1 > generationsMax) return false
  return bytesMax === null || sumOf([...others, one]) <= bytesMax
}

export function roomFor<Item extends Occupant>(
  capacity: Capacity,
  occupants: readonly Item[],
  wish: Wish,
  nowMs: number,
): Room<Item> {
  const staying = occupants.filter((one) => !mayLeave(one, wish, nowMs))
  if (!fits(capacity, staying, wish)) {
    const pinned = occupants.filter(({ mayGo }) => !mayGo)
    if (wish.isForRequest && fits(capacity, pinned, wish)) return { kind: 'later' }
    const inUse = wish.isForRequest ? pinned : staying
    return { kind: 'none', reason: whyNot(capacity, inUse, wish) }
  }
  const leaving = occupants.filter((one) => mayLeave(one, wish, nowMs)).sort(firstToGo)
  const kept = [...leaving]
  const evict: Item[] = []
  while (!fits(capacity, [...staying, ...kept], wish)) {
    const next = kept.shift()
    if (next !== undefined) evict.push(next)
  }
  return { kind: 'room', evict }
}

function mayLeave(one: Occupant, wish: Wish, nowMs: number): boolean {
  if (!one.mayGo) return false
  const rests = !one.isBusy && (one.isPrevious || nowMs - one.usedMs >= RESTING_MS)
  return rests || (wish.isForRequest && nowMs - one.loadedMs >= STAY_MS)
}

function firstToGo(a: Occupant, b: Occupant): number {
  const byKind = Number(b.isPrevious && !b.isBusy) - Number(a.isPrevious && !a.isBusy)
  return byKind || a.rank - b.rank || a.loadedMs - b.loadedMs
}

function sumOf(all: readonly Size[]): number {
  const shared = new Map(all.flatMap((one) => one.shared.map(({ key, bytes }) => [key, bytes])))
  const own = all.reduce((sum, { bytes }) => sum + bytes, 0)
  return [...shared.values()].reduce((sum, bytes) => sum + bytes, own)
}

/** With the figures, and with what to raise. */
function whyNot({ generationsMax, bytesMax }: Capacity, inUse: readonly Size[], one: Size): string {
  const used = inUse.length === 0 ? 'nothing else is' : `${inUse.length} are`
  if (generationsMax !== null && inUse.length + 1 > generationsMax) {
    const how = 'unload one, or raise maxLoadedGenerations'
    return `there is no room: ${used} in use of the ${generationsMax} that may be loaded; ${how}`
  }
  const figures = `${mib(sumOf(inUse))} of ${mib(bytesMax ?? 0)} are in use`
  const how = 'unload one, or raise memoryBudgetBytes'
  const added = sumOf([...inUse, one]) - sumOf(inUse)
  const isShared = added > one.bytes
  const share = `, ${mib(added - one.bytes)} of it for weights that all share`
  const needs = `in each serving process it needs ${mib(added)}${isShared ? share : ''}`
  return `there is no memory: ${needs}, and ${figures}; ${how}`
}

function mib(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`
}
