/**
 * Goal: values are what a person means by them, and what cannot be meant is told.
 * Method: texts and the values that they are.
 */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { dataOf, valuesOf } from '../../../admin/cli/values.ts'
import { shellOf, stdinOf } from '../../tools/command-shell.ts'
import { temporaryDirectory } from '../../tools/control-plane.ts'

const folder = temporaryDirectory(t)

const READ: readonly (readonly [string, object])[] = [
  ['age=41,plan=basic', { age: 41, plan: 'basic' }],
  [' a = 1 , b= x y ', { a: 1, b: 'x y' }],
  ['a=-0.5,b=1e3,c=true,d=null', { a: -0.5, b: 1_000, c: true, d: null }],
  ['zip="01234",raw=01234,day=2026-09-01', { zip: '01234', raw: '01234', day: '2026-09-01' }],
  ['a=[1,2],b={"c":"x,y"},d="p,q"', { a: [1, 2], b: { c: 'x,y' }, d: 'p,q' }],
  ['url=http://a/?b=c', { url: 'http://a/?b=c' }],
  ['a=', { a: '' }],
  ['', {}],
  ['{"mean radius": 1}', { 'mean radius': 1 }],
]

for (const [text, value] of READ) {
  t.test(`values: ${text}`, async (t) => {
    t.same(valuesOf(text, '--row'), value)
  })
}

t.test('what has no name is refused', async (t) => {
  t.throws(() => valuesOf('41', '--row'), { message: /--row: "41" has no name/, exitCode: 2 })
  t.throws(() => valuesOf('=41', '--row'), { message: /"=41" has no name/, exitCode: 2 })
  t.throws(() => valuesOf('{"a":', '--row'), { message: /--row is not JSON/, exitCode: 2 })
})

t.test('a body comes from the line, a file or stdin', async (t) => {
  const path = join(folder, 'row.json')
  writeFileSync(path, '{"a": 1}')
  const shell = (): ReturnType<typeof shellOf> => shellOf(folder, { stdin: stdinOf('[1]') })
  t.same(await dataOf(shell(), '{"b": 2}'), { b: 2 })
  t.same(await dataOf(shell(), `@${path}`), { a: 1 })
  t.same(await dataOf(shell(), '-'), [1])
  t.same(await dataOf(shell(), '@-'), [1])
  await t.rejects(dataOf(shell(), `@${folder}`), { message: /it is a folder/, exitCode: 2 })
  await t.rejects(dataOf(shell(), path), { message: `--data ${path}: the content of a file is` })
})
