/**
 * What several serving processes report, as if it were one; pure.
 *
 * The state of a generation is that of the process where least can be said for it: failed before
 * loading, loading before draining, draining before warm, warm before active. A process that stays
 * and has not heard of a generation yet counts as loading it, so that nobody takes it for warm
 * everywhere. Of a process that leaves, a failure and lost threads say nothing: the one in its
 * place makes up for them.
 */

import { refKey } from '../../core/base/ids.ts'
import type {
  GenerationState,
  ObservedGeneration,
  ObservedState,
} from '../../core/channel/messages.ts'
import type { RuntimeStatus } from '../../core/children/spec.ts'
import type { Report } from './readiness.ts'

/** First comes what a merged report shows. */
const BY_WEIGHT: readonly GenerationState[] = [
  'failed',
  'loading',
  'draining',
  'cold',
  'warm',
  'active',
  'closed',
]

/** Null when none has reported. */
export function merged(reports: readonly Report[]): ObservedState | null {
  const known = reports.filter((report) => report.observed !== null)
  const states = known.flatMap(({ observed }) => observed ?? [])
  const [only] = states
  if (only === undefined) return null
  if (states.length === 1) return only
  const groups = new Map<string, Part[]>()
  for (const { observed, leaves } of known) {
    for (const one of observed?.generations ?? []) {
      groups.set(refKey(one), [...(groups.get(refKey(one)) ?? []), { one, leaves }])
    }
  }
  const staying = known.filter(({ leaves }) => !leaves)
  const newest = Math.max(...staying.map(({ observed }) => observed?.revision ?? 0))
  const haveAll = staying.every(({ observed }) => observed?.revision === newest)
  const others = { staying: staying.length, missing: haveAll ? 'cold' : 'loading' } as const
  return {
    revision: Math.min(...states.map(({ revision }) => revision)),
    connections: sum(states.map(({ connections }) => connections)),
    generations: [...groups.values()].flatMap((parts) => mergedGeneration(parts, others)),
  }
}

interface Part {
  readonly one: ObservedGeneration
  readonly leaves: boolean
}

interface Others {
  /** Processes that stay. */
  readonly staying: number
  /** What a generation is in those of them that do not report it. */
  readonly missing: GenerationState
}

function mergedGeneration(
  parts: readonly Part[],
  { staying, missing }: Others,
): ObservedGeneration[] {
  const stay = parts.filter(({ leaves }) => !leaves).map(({ one }) => one)
  // A failure of one that leaves shows only when nobody stays.
  const judged = parts.filter(({ one, leaves }) => !leaves || staying === 0 || !isFailed(one))
  const all = judged.map(({ one }) => one)
  const first = all.sort((a, b) => weight(a.state) - weight(b.state))[0]
  if (first === undefined) return []
  const isMissing = stay.length < staying && (first.state === 'warm' || first.state === 'active')
  const counted = stay.length > 0 ? stay : all
  return [
    {
      ...first,
      state: isMissing ? missing : first.state,
      threads: sum(counted.map(({ threads }) => threads)),
      threadsLost: sum(counted.map(({ threadsLost }) => threadsLost)),
      loadMs: longest(all.map(({ loadMs }) => loadMs)),
      queued: sum(all.map(({ queued }) => queued)),
      running: sum(all.map(({ running }) => running)),
      stoppedEndpoints: [...new Set(all.flatMap(({ stoppedEndpoints }) => stoppedEndpoints))],
      hangs: sumOfHangs(all),
      runtimes: mergedRuntimes(counted),
    },
  ]
}

/** Up where it is up in all processes; the first that is down says why. */
function mergedRuntimes(all: readonly ObservedGeneration[]): RuntimeStatus[] {
  const groups = new Map<string, RuntimeStatus>()
  for (const status of all.flatMap(({ runtimes }) => runtimes)) {
    const known = groups.get(status.subject)
    const worse = known === undefined || (known.up && !status.up) ? status : known
    const busy = (known?.busy ?? 0) + status.busy
    const size = (known?.size ?? 0) + status.size
    groups.set(status.subject, { ...worse, busy, size })
  }
  return [...groups.values()]
}

function isFailed({ state }: ObservedGeneration): boolean {
  return state === 'failed'
}

function weight(state: GenerationState): number {
  return BY_WEIGHT.indexOf(state)
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

function longest(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null)
  return known.length === 0 ? null : Math.max(...known)
}

function sumOfHangs(all: readonly ObservedGeneration[]): Record<string, number> {
  const sums = new Map<string, number>()
  for (const { hangs } of all) {
    for (const [endpoint, count] of Object.entries(hangs)) {
      sums.set(endpoint, (sums.get(endpoint) ?? 0) + count)
    }
  }
  return Object.fromEntries(sums)
}
