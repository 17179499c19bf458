/** The query of a GET as parameters. */

/** U+FFFD in a query. */
const REPLACED = '%EF%BF%BD'

/**
 * Percent- and plus-decoded. Null: bytes that are no UTF-8 were replaced, so that nobody knows what
 * was asked.
 */
export function parametersOf(query: string): URLSearchParams | null {
  const parameters = new URLSearchParams(query)
  const isReplaced =
    String(parameters).includes(REPLACED) &&
    !query.toUpperCase().includes(REPLACED) &&
    !query.includes('\uFFFD')
  return isReplaced ? null : parameters
}

export const NOT_UTF8 = 'the query is not valid UTF-8'
