/**
 * Goal: nothing on the list of faults is forgotten. Method: the list is read as it is, every number
 * must be there once, and each test that it names must exist in the file that it names; what has no
 * test must say why.
 */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from '../../bench/paths.ts'

const FAULTS = 114
const OF_UWS = 18

const list = readFileSync(join(ROOT, 'test/fault/faults.md'), 'utf8')

interface Row {
  readonly number: string
  readonly where: string
}

function rows(text: string): Row[] {
  const found = [...text.matchAll(/^\| (U?\d+) *\| [^|]+ \| ([^|]+?) *\|$/gm)]
  return found.map(([, number = '', where = '']) => ({ number, where }))
}

/** What is wrong with one place; null: the test is there. */
function faultOf(place: string): string | null {
  const [, path, name] = /^`(test\/[\w/-]+\.test\.ts)`: (.+)$/.exec(place) ?? []
  if (path === undefined || name === undefined) return `not of the form \`file\`: name: ${place}`
  if (!existsSync(join(ROOT, path))) return `${path} does not exist`
  const text = readFileSync(join(ROOT, path), 'utf8')
  return text.includes(name) ? null : `${path} has no test "${name}"`
}

function faultsOf({ number, where }: Row): string[] {
  if (/^(not here: |not in |see ).{10}/.test(where)) return []
  return where.split('<br>').flatMap((place) => {
    const fault = faultOf(place)
    return fault === null ? [] : [`${number}: ${fault}`]
  })
}

t.test('every number is there once, in order', async (t) => {
  const numbers = rows(list).map(({ number }) => number)
  const wanted = [
    ...Array.from({ length: FAULTS }, (_, i) => `${i + 1}`),
    ...Array.from({ length: OF_UWS }, (_, i) => `U${i + 1}`),
  ]
  t.same(numbers, wanted)
})

t.test('each test that is named exists', async (t) => {
  t.same(rows(list).flatMap(faultsOf), [])
  t.same(faultOf('`test/fault/faults.test.ts`: each test that is named exists'), null)
  t.match(faultOf('`test/fault/faults.test.ts`: no such'.concat('-one')), /has no test/)
  t.match(faultOf('`test/fault/nothing.test.ts`: x'), /does not exist/)
  t.match(faultOf('somewhere'), /not of the form/)
})
