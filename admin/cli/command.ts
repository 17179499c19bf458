/**
 * What a command is: a row that says how it is called and what it does. The parser, every `--help`
 * and the completion of shells are made from the rows, so that none of them knows another set.
 */

import type { ApiClient } from './client.ts'
import type { Flags } from './flags.ts'
import type { Output } from './output.ts'

/** As commander spells them: `<service>`, `[endpoint]`, `<shares...>`. */
export interface ArgumentRow {
  readonly name: string
  readonly about: string
  /** All that it can be, for completion. */
  readonly choices?: readonly string[]
}

export interface OptionRow {
  /** `--label <text>`; `--service <id...>` may come several times. */
  readonly name: string
  readonly about: string
  /** As above. */
  readonly choices?: readonly string[]
}

/** The world as a command sees it; tests give their own. */
export interface Shell {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cores: number
  readonly version: string
  /** Where profiles are when the environment does not say. */
  readonly homeFolder: string
  readonly stdin: AsyncIterable<Uint8Array>
  out(text: string): void
  err(text: string): void
  /** Columns of the terminal behind stderr; null: there is none. */
  readonly columns: number | null
  /** True: yes. Null: there is nobody at a terminal to be asked. */
  readonly ask: ((question: string) => Promise<boolean>) | null
  /** Compiled entries of the processes that commands start. */
  readonly forgeEntry: string
  readonly draftEntry: string
}

export interface Call {
  readonly shell: Shell
  readonly args: readonly string[]
  readonly flags: Flags
  readonly output: Output
  /** Opened when it is asked for; throws when nothing says where the node is. */
  readonly admin: () => Promise<ApiClient>
}

export interface CommandRow {
  /** `services list`. */
  readonly name: string
  readonly about: string
  /** More than a line, below the first. */
  readonly details?: string
  readonly args?: readonly ArgumentRow[]
  readonly options?: readonly OptionRow[]
  /** Without `switchyard`. */
  readonly examples: readonly string[]
  /** It asks a node, so it has the options that say where that is. */
  readonly connects?: true
  /** What it prints is no answer, so it has no `--json`. */
  readonly isPlain?: true
  readonly run: (call: Call) => Promise<void>
}
