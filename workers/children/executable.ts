/**
 * Whether a program that the operator has named can be run at all: found out before a bundle is
 * tried, because otherwise the missing program would look like a fault of the node.
 */

import { accessSync, constants, statSync } from 'node:fs'

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}
