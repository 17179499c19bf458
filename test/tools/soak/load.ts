/**
 * Callers of a service that nobody changes, for as long as a node is tried. Each answer and each
 * request without one is either explained by what is done to the node in that moment, or not.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { Connection, type Outcome } from '../../../bench/connection.ts'
import { nowMs } from '../../../core/base/clock.ts'

/** What the fault of the moment explains: connections that end, or failures too. */
export type Excuse = 'nothing' | 'connections' | 'failures'

export interface LoadReport {
  readonly answered: number
  readonly explained: number
  readonly unexplained: readonly string[]
}

export interface Load {
  /** From now on, until the next call; what comes within a moment after it counts as before. */
  excuse(excuse: Excuse): void
  report(): LoadReport
  stop(): Promise<LoadReport>
}

export interface LoadOptions {
  readonly port: number
  readonly path: string
  readonly body: string
  /** What a right answer holds. */
  readonly wanted: string
  readonly callers: number
  readonly thinkMs: number
}

/** A request that was sent before a fault may be answered after it. */
const GRACE_MS = 1_500
const REASONS_MAX = 20

export function startLoad(options: LoadOptions): Load {
  const state = { excuse: 'nothing' as Excuse, before: 'nothing' as Excuse, sinceMs: 0 }
  const counts = { answered: 0, explained: 0, unexplained: [] as string[], ended: false }
  const excused = (): Excuse => {
    const isGrace = nowMs() - state.sinceMs < GRACE_MS
    return isGrace && state.excuse === 'nothing' ? state.before : state.excuse
  }
  const judge = (outcome: Outcome): void => {
    const fault = faultOf(outcome, options.wanted)
    if (fault === null) {
      counts.answered += 1
      return
    }
    const needs = outcome.kind === 'failed' ? ['connections', 'failures'] : ['failures']
    if (needs.includes(excused())) counts.explained += 1
    else if (counts.unexplained.length < REASONS_MAX) counts.unexplained.push(fault)
  }
  const work = Array.from({ length: options.callers }, () => call(options, counts, judge))
  const report = (): LoadReport => {
    const { answered, explained, unexplained } = counts
    return { answered, explained, unexplained }
  }
  return {
    excuse: (excuse) => {
      Object.assign(state, { before: state.excuse, excuse, sinceMs: nowMs() })
    },
    report,
    stop: async () => {
      counts.ended = true
      await Promise.all(work)
      return report()
    },
  }
}

function faultOf(outcome: Outcome, wanted: string): string | null {
  const at = Math.round(nowMs())
  if (outcome.kind === 'failed') return `${at} ms: no answer: ${outcome.reason}`
  const text = outcome.body.toString()
  if (outcome.status === 200 && text.includes(wanted)) return null
  return `${at} ms: ${outcome.status} ${text.slice(0, 300)}`
}

async function call(
  { port, path, body, thinkMs }: LoadOptions,
  counts: { readonly ended: boolean },
  judge: (outcome: Outcome) => void,
): Promise<void> {
  const connection = new Connection({ host: '127.0.0.1', port })
  const head = `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${Buffer.byteLength(body)}`
  const request = Buffer.from(`${head}\r\n\r\n${body}`)
  while (!counts.ended) {
    judge(await new Promise<Outcome>((done) => connection.send(request, done)))
    await sleep(Math.random() * thinkMs)
  }
  connection.close('the caller has gone')
}
