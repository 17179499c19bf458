/**
 * Rows mixed of the explained row and of the background, told by what they differ in: most have the
 * cells of the row before but for one, so whoever scores them copies a row and changes a cell.
 */

/** In place of a source: the row has the cells of the row before. */
export const AS_BEFORE = -1

/** Of the explained row; row i of the background is i + 1. */
export const EXPLAINED = 0

export class MixedRows {
  count = 0
  /** Per row the source of all its cells, or AS_BEFORE. */
  readonly starts: Int32Array
  /** Per row where its changes end; they begin where those of the row before end. */
  readonly ends: Int32Array
  /** Per change the feature that differs, and the source that it has its value from. */
  readonly features: Int32Array
  readonly sources: Int32Array
  #changes = 0

  /** Room for `rowsMax` rows of one change each, and for one row that changes all features. */
  constructor(rowsMax: number, features: number) {
    this.starts = new Int32Array(rowsMax)
    this.ends = new Int32Array(rowsMax)
    this.features = new Int32Array(rowsMax + features)
    this.sources = new Int32Array(rowsMax + features)
  }

  clear(): void {
    this.count = 0
    this.#changes = 0
  }

  /** Begins a row. */
  start(source: number): void {
    this.starts[this.count] = source
    this.ends[this.count] = this.#changes
    this.count += 1
  }

  /** Of the row that was begun last. */
  change(feature: number, source: number): void {
    this.features[this.#changes] = feature
    this.sources[this.#changes] = source
    this.#changes += 1
    this.ends[this.count - 1] = this.#changes
  }
}
