/**
 * The paths of services that were asked. They are made at the first request of a service, since of
 * a thousand services few are called, and stay while it is as it was: a switch changes one service,
 * and the thread that makes the routing answers queries meanwhile.
 */

import type { DesiredService } from '../channel/messages.ts'
import type { Held, Route } from './routing.ts'

export type Paths = ReadonlyMap<string, Route>

const NO_PATHS: Paths = new Map()

interface Kept {
  /** All that paths are made of: the service, and which of its generations take requests. */
  readonly service: DesiredService
  readonly held: readonly Held[]
  readonly serving: string
  readonly paths: Paths
}

export class KeptRoutes {
  readonly #kept = new Map<string, Kept>()

  /** Of one service, from now on. */
  keep(service: DesiredService, held: readonly Held[], paths: Paths): void {
    this.#kept.set(service.serviceId, { service, held, serving: servingOf(held), paths })
  }

  /** Null: something about the service is new, or it was not asked yet. */
  pathsOf(service: DesiredService, held: readonly Held[]): Paths | null {
    const before = this.#kept.get(service.serviceId)
    if (before?.service !== service || before.held !== held) return null
    return before.serving === servingOf(held) ? before.paths : null
  }

  names(): string[] {
    return [...this.#kept.keys()]
  }

  /** What it had. */
  forget(serviceId: string): Paths {
    const paths = this.#kept.get(serviceId)?.paths ?? NO_PATHS
    this.#kept.delete(serviceId)
    return paths
  }
}

function servingOf(held: readonly Held[]): string {
  return held.map(({ serves }) => Number(serves)).join('')
}
