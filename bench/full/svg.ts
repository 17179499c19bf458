/**
 * Plots as SVG texts: lines over logarithmic axes, and horizontal bars. Small enough to be read,
 * and the same figures give the same bytes, so that a new report shows what has changed.
 */

const FONT = 'font-family="sans-serif" font-size="12"'
const INK = '#333'
const GRID = '#ddd'

export interface Series {
  readonly name: string
  readonly colour: string
  readonly points: readonly { readonly x: number; readonly y: number }[]
}

export interface LineChart {
  readonly title: string
  readonly xLabel: string
  readonly yLabel: string
  readonly series: readonly Series[]
}

export interface BarGroup {
  readonly name: string
  readonly bars: readonly {
    readonly name: string
    readonly colour: string
    readonly value: number
  }[]
}

export interface BarChart {
  readonly title: string
  readonly unit: string
  /** Each with a scale of its own: models differ more than systems do. */
  readonly groups: readonly BarGroup[]
}

export function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`)
}

/** Where a value lies between two others, by its logarithm: 0 to 1. */
export function logShare(value: number, low: number, high: number): number {
  return high === low ? 0.5 : Math.log(value / low) / Math.log(high / low)
}

/** Powers of ten, and the next one on both sides, around all values. */
export function decades(values: readonly number[]): number[] {
  const low = Math.floor(Math.log10(Math.min(...values)))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))))
  return Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i))
}

/** As people write it: 250, 4k, 1.6M. */
export function short(value: number): string {
  if (value >= 1e6) return `${trimmed(value / 1e6)}M`
  if (value >= 1e4 || (value >= 1e3 && value % 1e3 === 0)) return `${trimmed(value / 1e3)}k`
  return trimmed(value)
}

function trimmed(value: number): string {
  return String(Number(value.toPrecision(3)))
}

interface TextOptions {
  readonly anchor?: 'start' | 'middle' | 'end'
  readonly more?: string
}

function label(x: number, y: number, text: string, options: TextOptions = {}): string {
  const { anchor = 'start', more = '' } = options
  const at = `x="${round(x)}" y="${round(y)}" text-anchor="${anchor}"`
  return `<text ${at} ${FONT} fill="${INK}"${more}>${escaped(text)}</text>`
}

function line(from: readonly [number, number], to: readonly [number, number]): string {
  const [x1, y1] = from.map(round)
  const [x2, y2] = to.map(round)
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="${GRID}"/>`
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}

function svg(width: number, height: number, parts: readonly string[]): string {
  const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`
  const paper = `<rect width="${width}" height="${height}" fill="#fff"/>`
  const inside = [paper, ...parts].join('\n')
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size}>\n${inside}\n</svg>\n`
}

const PLOT = { left: 70, top: 40, width: 540, height: 320 }
const LEGEND_WIDTH = 170

/** Values of zero and below have no place on a logarithmic axis; they are left out. */
export function lineChart(chart: LineChart): string {
  const series = chart.series
    .map((one) => ({ ...one, points: one.points.filter(({ x, y }) => x > 0 && y > 0) }))
    .filter(({ points }) => points.length > 0)
  const points = series.flatMap((one) => one.points)
  const width = PLOT.left + PLOT.width + LEGEND_WIDTH
  const height = PLOT.top + PLOT.height + 60
  const title = label(PLOT.left, 22, chart.title, { more: ' font-weight="bold"' })
  if (points.length === 0) return svg(width, height, [title])
  const xs = [...new Set(points.map(({ x }) => x))].sort((a, b) => a - b)
  const ys = decades(points.map(({ y }) => y))
  const toX = (x: number) => PLOT.left + PLOT.width * logShare(x, xs[0] ?? 1, xs.at(-1) ?? 1)
  const toY = (y: number) => PLOT.top + PLOT.height * (1 - logShare(y, ys[0] ?? 1, ys.at(-1) ?? 1))
  const bottom = PLOT.top + PLOT.height
  return svg(width, height, [
    title,
    ...xs.map((x) => line([toX(x), PLOT.top], [toX(x), bottom])),
    ...xs.map((x) => label(toX(x), bottom + 18, short(x), { anchor: 'middle' })),
    ...ys.map((y) => line([PLOT.left, toY(y)], [PLOT.left + PLOT.width, toY(y)])),
    ...ys.map((y) => label(PLOT.left - 8, toY(y) + 4, short(y), { anchor: 'end' })),
    label(PLOT.left + PLOT.width / 2, bottom + 42, chart.xLabel, { anchor: 'middle' }),
    label(0, 0, chart.yLabel, {
      anchor: 'middle',
      more: ` transform="translate(18 ${PLOT.top + PLOT.height / 2}) rotate(-90)"`,
    }),
    ...series.flatMap((one, i) => [...seriesParts(one, toX, toY), ...legendParts(one, i)]),
  ])
}

type ToPixel = (value: number) => number

function seriesParts({ colour, points }: Series, toX: ToPixel, toY: ToPixel): string[] {
  const places = points.map(({ x, y }) => `${round(toX(x))},${round(toY(y))}`)
  const pen = `fill="none" stroke="${colour}" stroke-width="2"`
  const path = `<polyline points="${places.join(' ')}" ${pen}/>`
  const dots = places.map((place) => {
    const [cx, cy] = place.split(',')
    return `<circle cx="${cx}" cy="${cy}" r="3" fill="${colour}"/>`
  })
  return [path, ...dots]
}

function legendParts({ name, colour }: Series, index: number): string[] {
  const [x, y] = [PLOT.left + PLOT.width + 18, PLOT.top + 10 + index * 20]
  const mark = `<rect x="${x}" y="${y - 9}" width="12" height="10" fill="${colour}"/>`
  return [mark, label(x + 18, y, name)]
}

const BARS = { left: 130, width: 480, line: 18, gap: 30, top: 40 }

export function barChart(chart: BarChart): string {
  const width = BARS.left + BARS.width + 90
  const parts = [label(10, 22, `${chart.title} (${chart.unit})`, { more: ' font-weight="bold"' })]
  let y = BARS.top
  for (const { name, bars } of chart.groups) {
    parts.push(label(10, y + 12, name, { more: ' font-style="italic"' }))
    y += BARS.line + 2
    const most = Math.max(...bars.map(({ value }) => value))
    for (const bar of bars) {
      const length = most > 0 ? (BARS.width * bar.value) / most : 0
      const size = `x="${BARS.left}" y="${y}" width="${round(length)}" height="${BARS.line - 4}"`
      parts.push(label(BARS.left - 8, y + 11, bar.name, { anchor: 'end' }))
      parts.push(`<rect ${size} fill="${bar.colour}"/>`)
      parts.push(label(BARS.left + length + 6, y + 11, short(bar.value)))
      y += BARS.line
    }
    y += BARS.gap - BARS.line
  }
  return svg(width, y + 10, parts)
}
