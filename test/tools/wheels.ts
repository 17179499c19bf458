/** Python packages as tests make them: without setuptools, and without a network. */

import { zip } from '../../bench/workloads/zip-writer.ts'

/** A pure wheel with one module that knows its version. */
export function wheel(name: string, version: string): Buffer {
  const info = `${name}-${version}.dist-info`
  const head = `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`
  const tags = 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n'
  const files: readonly (readonly [string, string])[] = [
    [`${name}.py`, `VERSION = "${version}"\n`],
    [`${info}/METADATA`, head],
    [`${info}/WHEEL`, tags],
  ]
  const record = [...files.map(([path]) => `${path},,`), `${info}/RECORD,,`].join('\n')
  const entries = [...files, [`${info}/RECORD`, `${record}\n`] as const]
  return zip(entries.map(([path, data]) => ({ name: path, data })))
}
