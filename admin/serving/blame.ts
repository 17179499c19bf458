/**
 * What is to blame when a serving process hangs, crashes or dies of a load, and what processes must
 * therefore not be asked to run or to load any more. It says what follows and does nothing to the
 * processes.
 */

import { nowMs } from '../../core/base/clock.ts'
import type { GenerationRef } from '../../core/base/ids.ts'
import type { Logger } from '../../core/base/logger.ts'
import type { DesiredState, ObservedState, StoppedEndpoint } from '../../core/channel/messages.ts'
import { Circuit } from './circuit.ts'
import { CrashWitness } from './crash-witness.ts'
import { DeadlyLoads, loadingIn } from './deadly-loads.ts'
import type { Member } from './member.ts'
import { OomKills } from './oom-kills.ts'
import type { ServeExit } from './serve-process.ts'

/** What a model does to its process, and nobody by hand. */
const CRASH_SIGNALS = ['SIGSEGV', 'SIGABRT', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP']

export interface BlameOptions {
  readonly logger: Logger
  /** A path nobody else uses, for a file that says what ran when a process crashed. */
  readonly witnessPath: () => string
  /** How many processes the kernel has killed for want of memory; null: it does not tell. */
  readonly oomKills: () => number | null
}

export interface Verdict {
  readonly hasCrashed: boolean
  /** Processes must hear that less is to be run, or loaded. */
  readonly changes: boolean
  /** What ended one process after the other is left out: the next start may succeed. */
  readonly leavesOut: boolean
  /** Whose models have crashed it, as far as can be told: they ran, or were being loaded. */
  readonly suspects: readonly GenerationRef[]
}

export class Blame {
  readonly #logger: Logger
  readonly #circuit = new Circuit(nowMs)
  readonly #loads = new DeadlyLoads()
  readonly #witness: CrashWitness
  readonly #oomKills: OomKills

  constructor({ logger, witnessPath, oomKills }: BlameOptions) {
    this.#logger = logger
    this.#witness = new CrashWitness(witnessPath)
    this.#oomKills = new OomKills(oomKills)
  }

  newWitnessFile(): string | null {
    return this.#witness.newFile()
  }

  stopped(): readonly StoppedEndpoint[] {
    return this.#circuit.stopped()
  }

  allowed(desired: DesiredState): DesiredState {
    return this.#loads.allowed(desired)
  }

  shown(observed: ObservedState, desired: DesiredState | null): ObservedState {
    return this.#loads.shown(observed, desired)
  }

  whyNotLoaded(ref: GenerationRef): string | null {
    return this.#loads.whyNot(ref)
  }

  beat(): void {
    this.#oomKills.beat()
  }

  /** True when endpoints are stopped because of it. */
  reported(member: Member): boolean {
    if (member.observed !== null) this.#loads.reported(member.observed, member.startedMs)
    let stops = false
    for (const { ref, count } of member.newHangs()) {
      this.#logger.warn({ ...ref, pid: member.pid, count }, 'a run of an endpoint does not end')
      if (this.#circuit.hung(ref, count)) stops = true
    }
    if (stops) this.#sayStopped()
    return stops
  }

  ended({ pid, isKilled, witnessFile, observed }: Member, exit: ServeExit): Verdict {
    const { how } = exit
    const isOom = how === 'SIGKILL' && !isKilled && this.#oomKills.take()
    const hasCrashed = isOom || (CRASH_SIGNALS.includes(how) && !isKilled)
    const running = this.#witness.take(witnessFile, hasCrashed)
    if (hasCrashed) {
      const what = isOom ? 'was killed by the kernel for want of memory' : 'crashed'
      this.#logger.error({ pid, how, running }, `a serving process ${what}`)
    }
    const stops = this.#circuit.crashed(running)
    if (stops) this.#sayStopped()
    // Where something was inside a run, that is more likely to blame.
    const isOfLoad = !isKilled && !exit.clean && running.length === 0
    const out = isOfLoad ? this.#loads.died(observed, how, nowMs()) : null
    if (out !== null) {
      const reason = this.#loads.whyNot(out)
      this.#logger.error({ ...out, reason }, 'a generation is left out')
    }
    const loading = loadingIn(observed)
    const accused = running.length > 0 || loading === null ? running : [loading]
    const suspects = hasCrashed && !isOom ? accused : []
    return { hasCrashed, changes: stops || out !== null, leavesOut: out !== null, suspects }
  }

  /** An operator asks for another try; true when processes must hear of it. */
  pardon(ref: GenerationRef): boolean {
    const { serviceId, generationId } = ref
    const runs = this.#circuit.pardon(serviceId, generationId)
    if (runs) this.#logger.info({ serviceId, generationId }, 'stopped endpoints are run again')
    const loads = this.#loads.pardon(ref)
    if (loads) this.#logger.info({ serviceId, generationId }, 'it is loaded once more')
    return runs || loads
  }

  #sayStopped(): void {
    const stopped = this.#circuit.stopped()
    this.#logger.error({ stopped }, 'endpoints are stopped: their runs hang or crash')
  }
}
