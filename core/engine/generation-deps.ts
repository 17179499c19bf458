/** What a generation needs from its process, and how it comes into it; types only. */

import type { Reroute } from '../../workers/protocol.ts'
import type { Issuers } from '../auth/issuers.ts'
import type { Logger } from '../base/logger.ts'
import type { Spawner } from '../children/spawner.ts'
import type { RuntimeSettings } from '../config/runtimes.ts'
import type { Whereto } from '../dispatch/lane.ts'
import type { Pending } from '../dispatch/pending.ts'
import type { Scheduler } from '../dispatch/scheduler.ts'
import type { Recorder } from '../metrics/recorder.ts'
import type { CheckedForms } from './checked-forms.ts'
import type { Generation } from './generation.ts'
import type { Origin } from './reroute.ts'

export interface GenerationDeps {
  readonly scheduler: Scheduler
  readonly recorder: Recorder
  readonly logger: Logger
  readonly defaultThreads: number
  readonly threadsMax: number
  readonly settings: RuntimeSettings
  /** Whose tokens open generations that ask for one. */
  readonly issuers: Issuers
  /** Starts the children of all generations. */
  readonly spawner: Spawner
  readonly checkedForms: CheckedForms
  /**
   * Hung runs by "service/generation/endpoint", since the process started. They outlive the
   * Generation that had them: a count that fell when a failed one is loaded again would hide the
   * next hang from control.
   */
  readonly hangs: Map<string, number>
  /** Whether it takes requests has changed. */
  readonly onRoutes: () => void
  /** Something else that control should know has changed. */
  readonly onChange: (generation: Generation) => void
  /** Requests wait for a cold one. */
  readonly onNeeded: (generation: Generation) => void
  /** Its lanes are new: nobody has told them yet what holds for their service. */
  readonly onLanes: (generation: Generation) => void
  /** Finds the lane that is to answer a request instead. */
  readonly whereTo: (from: Origin, reroute: Reroute, pending: Pending) => Whereto | Promise<Whereto>
}

export interface Birth {
  readonly state: 'cold' | 'loading'
  /** Requests come in at once, and wait; else they are refused until it has loaded. */
  readonly isOpen: boolean
  /** Why the last load of a cold one has failed; absent: there was none, or it has not. */
  readonly before?: string
}
