/**
 * A figure that was promised: what was seen, what it must and what it should be, and what is to be
 * said of that. Judged only where nobody else used the machine and there were rounds enough.
 */

/** Rounds below which a comparison of rates is chance. */
export const ROUNDS_MIN = 5

type Verdict = 'aim' | 'must' | 'missed' | 'noisy, not judged' | 'not measured'

export interface Row {
  readonly row: number
  readonly figure: string
  readonly value: number | null
  readonly unit: string
  readonly must: number
  readonly aim: number
  readonly gates: boolean
  readonly verdict: Verdict
  readonly note: string
}

export interface Judged {
  readonly value: number
  readonly must: number
  readonly aim: number
  readonly moreIsBetter: boolean
  /** Idle machine and enough rounds. */
  readonly sound: boolean
}

function verdict({ value, must, aim, moreIsBetter, sound }: Judged): Verdict {
  if (Number.isNaN(value)) return 'not measured'
  if (!sound) return 'noisy, not judged'
  const reaches = (bound: number) => (moreIsBetter ? value >= bound : value <= bound)
  if (reaches(aim)) return 'aim'
  return reaches(must) ? 'must' : 'missed'
}

export interface RowText {
  readonly row: number
  readonly figure: string
  readonly unit: string
  readonly gates?: boolean
  readonly note: string
}

export function rowOf({ gates = false, note, ...text }: RowText, judged: Judged): Row {
  const { must, aim } = judged
  const value = Number.isNaN(judged.value) ? null : judged.value
  const said = verdict(judged)
  return { ...text, gates, value, must, aim, verdict: said, note: value === null ? '' : note }
}

export function count(value: number | undefined): string {
  return value === undefined ? '-' : Math.round(value).toLocaleString('en-US')
}

type RunCode = 'PASSED' | 'MISSED' | 'NOISY'

/** What the run as a whole says: only gating rows count, and only where they could be judged. */
export function codeOf(rows: readonly Row[]): RunCode {
  const gating = rows.filter(({ gates, verdict: said }) => gates && said !== 'not measured')
  if (gating.some((row) => row.verdict === 'missed')) return 'MISSED'
  return gating.some((row) => row.verdict === 'noisy, not judged') ? 'NOISY' : 'PASSED'
}
