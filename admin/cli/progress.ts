/**
 * One line that changes while something goes on: at a terminal only, on stderr, and gone when it is
 * done. A log file gets none of it.
 */

import type { Shell } from './command.ts'

const BAR_CHARACTERS = 24
const CLEAR_LINE = '\r\u001b[K'

export class Progress {
  readonly #shell: Pick<Shell, 'err' | 'columns'>
  #shown = ''

  constructor(shell: Pick<Shell, 'err' | 'columns'>) {
    this.#shell = shell
  }

  get isVisible(): boolean {
    return this.#shell.columns !== null
  }

  /** Without a total there is no bar. */
  show(label: string, done: number | null = null, total: number | null = null): void {
    const { columns } = this.#shell
    if (columns === null) return
    const bar = done === null || total === null || total <= 0 ? '' : ` ${barOf(done / total)}`
    const text = [...`${label}${bar}`].slice(0, Math.max(10, columns - 1)).join('')
    if (text === this.#shown) return
    this.#shown = text
    this.#shell.err(`${CLEAR_LINE}${text}`)
  }

  end(): void {
    if (this.#shown !== '') this.#shell.err(CLEAR_LINE)
    this.#shown = ''
  }
}

function barOf(share: number): string {
  const part = Math.min(1, Math.max(0, share))
  const full = Math.round(part * BAR_CHARACTERS)
  const bar = '#'.repeat(full) + '-'.repeat(BAR_CHARACTERS - full)
  return `[${bar}] ${String(Math.floor(part * 100)).padStart(3)} %`
}
