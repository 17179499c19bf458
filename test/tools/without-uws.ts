/**
 * The built program beside packages of which uWebSockets.js has lost its binaries, as on a Node
 * that its authors do not support.
 */

import { cpSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { compiled, ROOT } from '../../bench/paths.ts'

/** Its entry; the copy goes into an empty folder. */
export function withoutUws(folder: string): string {
  const dist = dirname(dirname(compiled('core/main.ts')))
  for (const part of ['core', 'workers', 'admin']) {
    cpSync(join(dist, part), join(folder, 'dist', part), { recursive: true })
  }
  cpSync(join(ROOT, 'package.json'), join(folder, 'package.json'))
  const packages = join(ROOT, 'node_modules')
  const links = join(folder, 'node_modules')
  mkdirSync(links)
  for (const name of readdirSync(packages)) {
    if (name !== 'uWebSockets.js') symlinkSync(join(packages, name), join(links, name))
  }
  cpSync(join(packages, 'uWebSockets.js'), join(links, 'uWebSockets.js'), {
    recursive: true,
    filter: (path) => !path.endsWith('.node'),
  })
  return join(folder, 'dist/core/main.js')
}
