/**
 * How many rows the next run may have, so that a slice ends in time: by what rows have cost so far,
 * and before the first by what the forge has measured.
 */

export class Pace {
  #msPerRow: number | null

  /** `ms` is for `rowsMax` rows; 0: nobody has measured it. */
  constructor(ms: number, rowsMax: number) {
    this.#msPerRow = ms > 0 ? ms / rowsMax : null
  }

  /**
   * 0: what is left is not worth a run. The first run of a slice has at least one row, so that
   * each slice gets somewhere.
   */
  rows(rowsMax: number, leftMs: number, isFirst: boolean): number {
    if (this.#msPerRow === null) return 1
    const fitting = Math.min(rowsMax, Math.floor(leftMs / this.#msPerRow))
    if (isFirst) return Math.max(1, fitting)
    return 2 * fitting < rowsMax ? 0 : fitting
  }

  /** A slow run counts at once, a fast one by half: the machine may have been busy or idle. */
  ran(rows: number, ms: number): void {
    const latest = Math.max(ms, 1e-3) / rows
    const known = this.#msPerRow ?? latest
    this.#msPerRow = Math.max(latest, (known + latest) / 2)
  }
}
