/**
 * The systems of one workload, all started and compared before anything is timed. A peer that
 * cannot be started, or answers something else, is left out with its reason; without the node there
 * is nothing to report.
 */

import { askFor } from '../constant.ts'
import { firstDifference, type Scores, scoresOf } from '../workloads/protocols.ts'
import { rowsOf, type Workload } from '../workloads/workloads.ts'
import type { SystemName } from './names.ts'
import type { Missing } from './report-data.ts'
import { orderOf, PeerLacking, type System, startLimit, startSystem } from './systems.ts'

export interface FullLineup {
  readonly workload: Workload
  readonly systems: readonly System[]
  readonly missing: readonly Missing[]
  stop(): Promise<void>
}

export async function startFullLineup(
  workload: Workload,
  names: readonly SystemName[],
): Promise<FullLineup> {
  const systems: System[] = []
  const missing: Missing[] = []
  const stop = async () => {
    await Promise.all(systems.map(({ server }) => server.stop()))
  }
  try {
    const node = await startSystem('node', workload)
    systems.push(node)
    const expected = await answersOf(node, workload)
    for (const name of names.filter((one) => takesPart(one, workload))) {
      const peer = await startedPeer(name, workload, expected)
      if (typeof peer === 'string')
        missing.push({ workload: workload.name, system: name, reason: peer })
      else systems.push(peer)
    }
    if (workload.name === 'mlp') systems.push(await startLimit(node, workload))
    return { workload, systems, missing, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** The node is there already. A model of microseconds has nothing from a second thread. */
function takesPart(name: SystemName, workload: Workload): boolean {
  return name !== 'node' && (name !== 'node-all-cores' || workload.name !== 'mlp')
}

/** Scores for each shape of body. */
async function answersOf(system: System, workload: Workload): Promise<Scores[]> {
  const answers: Scores[] = []
  for (const { rows } of workload.shapes) {
    const { text } = await askFor(system.name, orderOf(system, workload, rowsOf(workload, rows)))
    answers.push(scoresOf(system.protocol, workload, text))
  }
  return answers
}

/** The peer, or in one line why it takes no part. */
async function startedPeer(
  name: SystemName,
  workload: Workload,
  expected: readonly Scores[],
): Promise<System | string> {
  let peer: System
  try {
    peer = await startSystem(name, workload)
  } catch (error) {
    return reasonOf(error)
  }
  try {
    const given = await answersOf(peer, workload)
    const differences = expected.map((scores, i) => firstDifference(scores, given[i] ?? []))
    const difference = differences.find((one) => one !== null)
    if (difference === undefined) return peer
    await peer.server.stop()
    return `it answers something else: ${difference}`
  } catch (error) {
    await peer.server.stop()
    return reasonOf(error)
  }
}

/** One line without the paths of this machine, which nobody else has. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  if (error instanceof PeerLacking) return text
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  const [first = 'no reason is known', ...rest] = lines
  const last = rest.at(-1)
  const said = last === undefined ? first : `${first} (${last.trim()})`
  return said
    .replace(/(?<![\w.:/])\/[\w.+@-]+(?:\/[\w.+@-]+)+/g, (path) => path.replace(/^.*\//, ''))
    .slice(0, 300)
}
