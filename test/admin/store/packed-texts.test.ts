/**
 * Goal: packed or not, every text is what it was, in little memory; what was taken down at one
 * moment stays as it was. Method: random changes against a plain map, by fast-check; the seed is
 * printed and SEED=… repeats a run.
 */

import fc from 'fast-check'
import t from 'tap'
import { PackedTexts } from '../../../admin/store/packed-texts.ts'

const seed = Number(process.env['SEED'] ?? Date.now() % 0x7fffffff)
t.comment(`seed ${seed}`)

type Step =
  | { readonly kind: 'set'; readonly key: number; readonly size: number }
  | { readonly kind: 'delete'; readonly key: number }
  | { readonly kind: 'pack' | 'look' | 'clear' }

const key = fc.integer({ min: 0, max: 60 })
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('set'),
      key,
      size: fc.integer({ min: 3_000, max: 9_000 }),
    }),
  },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('delete'), key }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('pack') }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('look') }) },
)

/** Every third key stays as it is. */
function mayPack(name: string): boolean {
  return Number(name.slice(1)) % 3 !== 0
}

t.test('whatever comes and goes', async (t) => {
  let packed = 0
  const property = fc.property(fc.array(step, { minLength: 60, maxLength: 150 }), (steps) => {
    const texts = new PackedTexts(mayPack)
    const wanted = new Map<string, string>()
    const looks: { readonly found: Iterable<object>; readonly wanted: object[] }[] = []
    for (const [i, one] of steps.entries()) {
      if (one.kind === 'set') {
        const text = `${i} é € ${'x'.repeat(one.size)}`
        texts.set(`k${one.key}`, text)
        wanted.set(`k${one.key}`, text)
      } else if (one.kind === 'delete') {
        texts.delete(`k${one.key}`)
        wanted.delete(`k${one.key}`)
      } else if (one.kind === 'pack') packed += Number(texts.pack())
      else looks.push({ found: texts.snapshot(), wanted: inOrder(wanted) })
      for (const [name, text] of wanted) if (texts.get(name) !== text) throw new Error(name)
    }
    looks.push({ found: texts.snapshot(), wanted: inOrder(wanted) })
    for (const look of looks) {
      const found = JSON.stringify([...look.found])
      if (found !== JSON.stringify(look.wanted)) throw new Error('another moment')
    }
    if (texts.get('k61') !== undefined) throw new Error('never set')
  })
  fc.assert(property, { seed, numRuns: 60 })
  t.ok(packed > 60, `${packed} blocks`)

  function inOrder(map: ReadonlyMap<string, string>) {
    const all = [...map].sort(([a], [b]) => (a < b ? -1 : 1))
    return all.map(([key, text]) => ({ key, text }))
  }
})

t.test('texts that resemble one another take a tenth', async (t) => {
  const texts = new PackedTexts(() => true)
  const record = JSON.stringify(Array.from({ length: 60 }, (_, i) => ({ name: `f${i}`, i })))
  for (let i = 0; i < 100; i += 1) texts.set(`k${i}`, `${i} ${record}`)
  let blocks = 0
  while (texts.pack()) blocks += 1
  t.ok(blocks > 2)
  t.equal(texts.get('k7'), `7 ${record}`)
  texts.clear()
  t.equal(texts.get('k7'), undefined)
  t.throws(() => texts.set('k', 'two\nlines'), /one line/)
})
