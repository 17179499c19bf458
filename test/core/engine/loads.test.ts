/**
 * Goal: what may come into memory before anybody asks is told for thousands of generations without
 * a look at all of them for each, which takes a start from milliseconds to half a minute.
 *
 * Method: the loads of a process that holds nothing, and how often it is asked what it holds.
 */

import t from 'tap'
import { SILENT } from '../../../core/base/logger.ts'
import type { Capacity, DesiredGeneration } from '../../../core/channel/messages.ts'
import { Loads } from '../../../core/engine/loads.ts'
import { newGeneration } from '../../tools/serving.ts'

const SERVICES = 1_000

function taken(capacity: Capacity, each: Partial<DesiredGeneration>) {
  let looks = 0
  const known = (): never[] => {
    looks += 1
    return []
  }
  const events = { onLoad: () => {}, onEvicted: () => {} }
  const hasRoom = new Loads({ capacity, logger: SILENT, known, ...events }).roomAhead()
  const one = { ...newGeneration(t.testdir(), 'g', {}), ...each }
  const count = Array.from({ length: SERVICES }, () => hasRoom(one)).filter(Boolean).length
  return { count, looks }
}

t.test('each that is told of takes room, as many as the limits let in', async (t) => {
  t.same(taken({ generationsMax: 10, bytesMax: null }, {}), { count: 10, looks: 1 })
  t.same(taken({ generationsMax: null, bytesMax: 105 }, { bytes: 10 }), { count: 10, looks: 1 })
  const shared = [{ key: 'weights', bytes: 100 }]
  const both = taken({ generationsMax: null, bytesMax: 105 }, { bytes: 1, shared })
  t.same(both, { count: 5, looks: 1 }, 'weights that all share are counted once')
})
