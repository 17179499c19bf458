/**
 * Goal: dispatch keys are spread by the shares of the mapping, the same for ever, and when shares
 * change only the keys move that must.
 *
 * Method: counts over many keys against what chance allows, and choices that were written down.
 */

import t from 'tap'
import { stickyChoice } from '../../../core/engine/sticky.ts'

const KEYS = 40_000
const keys = Array.from({ length: KEYS }, (_, i) => `user-${i}`)
const two = (a: number, b: number) => [
  { generationId: 'v1', proba: a },
  { generationId: 'v2', proba: b },
]
/** Five standard deviations of a count of `KEYS` tries. */
const slack = (share: number) => 5 * Math.sqrt(KEYS * share * (1 - share))

/** Of SHA-256 and the formula in the source; computed once by another program. */
const VECTORS: readonly string[] = ['v1', 'v2', 'v1', 'v2', 'v2', 'v1', 'v2', 'v2']

t.test('shares', async (t) => {
  const mapping = [...two(0.6, 0.3), { generationId: 'v3', proba: 0.1 }]
  for (const { generationId, proba } of mapping) {
    const count = keys.filter((key) => stickyChoice(key, mapping) === generationId).length
    t.ok(Math.abs(count - KEYS * proba) < slack(proba), `${generationId}: ${count}`)
  }
  t.equal(stickyChoice('x', []), null)
  t.ok(
    keys.every((key) => stickyChoice(key, two(1, 0)) === 'v1'),
    'no share, no key',
  )
  const turned = [...mapping].reverse()
  t.ok(
    keys.slice(0, 500).every((key) => stickyChoice(key, mapping) === stickyChoice(key, turned)),
    'the order of the entries does not count',
  )
})

t.test('only the share that must move moves', async (t) => {
  const before = keys.map((key) => stickyChoice(key, two(0.9, 0.1)))
  const after = keys.map((key) => stickyChoice(key, two(0.8, 0.2)))
  const moved = keys.filter((_, i) => before[i] !== after[i]).length
  t.ok(Math.abs(moved - KEYS * 0.1) < slack(0.1), `${moved} moved`)
  t.notOk(
    keys.some((_, i) => before[i] === 'v2' && after[i] === 'v1'),
    'none the other way',
  )
  const gone = keys.map((key) =>
    stickyChoice(key, [...two(0.5, 0.3), { generationId: 'v3', proba: 0.2 }]),
  )
  const less = keys.map((key) => stickyChoice(key, two(0.5, 0.3)))
  t.ok(
    keys.every((_, i) => gone[i] === 'v3' || gone[i] === less[i]),
    'where one goes, the others keep their keys',
  )
})

t.test('choices that must never change', async (t) => {
  const chosen = ['', 'ada', 'u1', 'größe', 'v1', '\u0000', '42', 'x'.repeat(300)].map((key) =>
    stickyChoice(key, two(0.5, 0.5)),
  )
  t.same(chosen, VECTORS)
})
