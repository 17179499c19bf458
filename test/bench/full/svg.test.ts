/**
 * Goal: a plot shows the figures where they are. Method: plots of known figures are read back as
 * XML texts: places of points, lengths of bars, labels, and texts that would break XML.
 */

import t from 'tap'
import { barChart, decades, escaped, lineChart, logShare, short } from '../../../bench/full/svg.ts'

/** Fails unless every element that opens closes, in order. */
function checkXml(text: string): void {
  const open: string[] = []
  for (const [, closing, name = '', rest = ''] of text.matchAll(/<(\/?)(\w+)([^<>]*)>/g)) {
    if (closing === '/') {
      if (open.pop() !== name) throw new Error(`</${name}> closes something else`)
    } else if (!rest.endsWith('/')) open.push(name)
  }
  if (open.length > 0) throw new Error(`<${open.join('>, <')}> stay open`)
}

t.test('places on a logarithmic axis', async (t) => {
  t.equal(logShare(1, 1, 100), 0)
  t.equal(logShare(10, 1, 100), 0.5)
  t.equal(logShare(100, 1, 100), 1)
  t.equal(logShare(7, 7, 7), 0.5, 'one value is in the middle')
  t.same(decades([3, 800]), [1, 10, 100, 1_000])
  t.same(decades([10]), [10, 100], 'an axis has a length')
})

t.test('numbers as people write them', async (t) => {
  const values = [0.25, 9, 250, 1_000, 1_500, 16_000, 138_300, 2_000_000]
  t.same(values.map(short), ['0.25', '9', '250', '1k', '1500', '16k', '138k', '2M'])
})

t.test('lines go through their points', async (t) => {
  const points = [
    { x: 1, y: 100 },
    { x: 64, y: 10_000 },
    { x: 128, y: 0 },
  ]
  const series = [{ name: 'a < b & "c"', colour: '#123456', points }]
  const svg = lineChart({ title: 'T', xLabel: 'X', yLabel: 'Y', series })
  t.doesNotThrow(() => checkXml(svg))
  t.match(svg, escaped('a < b & "c"'))
  const path = /<polyline points="([^"]+)"/.exec(svg)?.[1] ?? ''
  t.same(path.split(' '), ['70,360', '610,40'], 'corner to corner, without the zero')
  t.equal(lineChart({ title: 'T', xLabel: 'X', yLabel: 'Y', series }), svg, 'the same bytes again')
  const empty = lineChart({ title: 'T', xLabel: 'X', yLabel: 'Y', series: [] })
  t.doesNotThrow(() => checkXml(empty))
})

t.test('bars are as long as their values, each group by its own scale', async (t) => {
  const bar = (name: string, value: number) => ({ name, colour: '#abcdef', value })
  const svg = barChart({
    title: 'T',
    unit: 'ms',
    groups: [
      { name: 'one', bars: [bar('a', 50), bar('b', 100)] },
      { name: 'two', bars: [bar('a', 3), bar('none', 0)] },
    ],
  })
  t.doesNotThrow(() => checkXml(svg))
  const widths = [...svg.matchAll(/width="([\d.]+)" height="14"/g)].map(([, width]) =>
    Number(width),
  )
  t.same(widths, [240, 480, 480, 0])
})
