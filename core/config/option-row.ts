/** What a row of options.ts may say. */

interface RowBase {
  readonly env: string
  /** Without the dashes; null: a secret, which must not show in a list of processes. */
  readonly flag: string | null
  readonly help: string
  /** What help and README show as the default when the value itself does not say it. */
  readonly defaultText?: string
}

interface IntegerRow extends RowBase {
  readonly kind: 'integer'
  /** null: decided at start, see `defaultText`. */
  readonly default: number | null
  readonly min: number
  readonly max: number
}

interface BooleanRow extends RowBase {
  readonly kind: 'boolean'
  readonly default: boolean | null
}

interface TextRow extends RowBase {
  readonly kind: 'text'
  /** What help shows in its place; default: `text`. */
  readonly placeholder?: string
  readonly default: string | null
  readonly charactersMin: number
}

interface ChoiceRow extends RowBase {
  readonly kind: 'choice'
  readonly default: string
  readonly choices: readonly string[]
}

export type OptionRow = IntegerRow | BooleanRow | TextRow | ChoiceRow
