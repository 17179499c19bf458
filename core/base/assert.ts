/**
 * Assertions are for our own bugs only: a failed one ends the process, because a program that has
 * broken its own rules must not go on answering. What the world does wrong is an AppError.
 */

class AssertionError extends Error {
  override readonly name = 'AssertionError'
}

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message)
}

/** Closes a `switch` over a union: a new kind that nobody handles breaks the build here first. */
export function assertNever(value: never): never {
  throw new AssertionError(`unhandled case: ${JSON.stringify(value)}`)
}
