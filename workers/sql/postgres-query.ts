/**
 * One statement on the wire of PostgreSQL, all messages in one flight: parse (once for each
 * session), bind, describe, execute with a limit of rows, sync. With a limit the server itself
 * stops at the row that is one too many, and nothing of the rest is ever sent.
 */

import type { Connection, Submittable } from 'pg'
import { type Bounds, RowCollector, type Statement } from './session.ts'

export interface Field {
  readonly name: string
  readonly dataTypeID: number
}

export interface WireResult {
  readonly fields: readonly Field[] | null
  readonly collector: RowCollector
  /** Such as `INSERT 0 5`. */
  readonly command: string
}

/** What the library has and its types do not tell. */
interface Wire {
  readonly stream: { cork(): void; uncork(): void }
  readonly parsedStatements: Readonly<Record<string, string | undefined>>
  parse(message: { readonly text: string; readonly name: string }): void
  bind(message: { readonly statement: string; readonly values: readonly (string | null)[] }): void
  describe(message: { readonly type: 'P'; readonly name: string }): void
  execute(message: { readonly portal: string; readonly rows: number }): void
  sync(): void
  sendCopyFail(reason: string): void
}

type Texts = readonly (string | null)[]

/** The methods are called by the library, in the order of the server's messages. */
export class WireQuery implements Submittable {
  readonly name: string
  readonly text: string
  readonly done: Promise<WireResult>
  readonly #values: Texts
  readonly #rowsMax: number
  readonly #collector: RowCollector
  readonly #textsOf: (row: Texts, fields: readonly Field[]) => Texts
  #fields: readonly Field[] | null = null
  #command = ''
  #error: Error | null = null
  #resolve: (result: WireResult) => void = () => {}
  #reject: (error: Error) => void = () => {}

  constructor(
    statement: Statement,
    values: Texts,
    bounds: Bounds,
    textsOf: (row: Texts, fields: readonly Field[]) => Texts,
  ) {
    this.name = statement.name
    this.text = statement.text
    this.#values = values
    this.#rowsMax = bounds.rowsMax
    this.#collector = new RowCollector(bounds)
    this.#textsOf = textsOf
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  submit(connection: Connection): null {
    const wire = connection as unknown as Wire
    wire.stream.cork()
    try {
      if (wire.parsedStatements[this.name] === undefined) {
        wire.parse({ text: this.text, name: this.name })
      }
      wire.bind({ statement: this.name, values: this.#values })
      wire.describe({ type: 'P', name: '' })
      wire.execute({ portal: '', rows: this.#rowsMax + 1 })
      wire.sync()
    } finally {
      wire.stream.uncork()
    }
    return null
  }

  handleRowDescription(message: { readonly fields: readonly Field[] }): void {
    this.#fields = message.fields
  }

  handleDataRow(message: { readonly fields: Texts }): void {
    if (this.#collector.isOver) return
    this.#collector.add(this.#textsOf(message.fields, this.#fields ?? []))
  }

  /** One row too many came: the sync that was sent along ends the rest. */
  handlePortalSuspended(): void {}

  handleEmptyQuery(): void {}

  handleCommandComplete(message: { readonly text: string }): void {
    this.#command = message.text
  }

  handleCopyInResponse(wire: Pick<Wire, 'sendCopyFail'>): void {
    wire.sendCopyFail('there is nothing to copy')
  }

  handleCopyData(): void {}

  /** The session can be used again only when the server is ready; the library then says so. */
  handleError(error: Error): void {
    this.#error = error
    this.#reject(error)
  }

  handleReadyForQuery(): void {
    if (this.#error !== null) return
    this.#resolve({
      fields: this.#fields,
      collector: this.#collector,
      command: this.#command,
    })
  }
}
