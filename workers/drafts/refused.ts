/** Why a draft cannot be made: sentences for the author of the file, never a fault of ours. */

export class DraftRefused extends Error {
  readonly reasons: readonly string[]

  constructor(...reasons: readonly string[]) {
    super(reasons[0] ?? '')
    this.reasons = reasons
  }
}
