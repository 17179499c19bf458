/**
 * The unmodified Python client of Dataiku's API node, one call at a time, so that a test can look
 * at what each has done. It comes from a virtual environment whose interpreter TEST_PYTHON names;
 * `.ci/run` makes it.
 */

import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { ROOT } from '../../bench/paths.ts'

export const python = process.env['TEST_PYTHON'] ?? ''

/** In the place of an argument: Python writes it as the bare token, which is no JSON. */
export const BARE = { nan: '<NaN>', infinity: '<Infinity>', minus: '<-Infinity>' }

export function whyNoDataiku(): string | false {
  const how = 'TEST_PYTHON must name a Python that has dataiku-api-client'
  if (!existsSync(python)) return how
  const { status } = spawnSync(python, ['-c', 'import dataikuapi'])
  return status === 0 ? false : how
}

/** What a call came to: `returned`, or what was `raised` with its text. */
export interface Said {
  readonly returned?: ReturnType<typeof JSON.parse>
  readonly raised?: string
  readonly text?: string
  readonly printed: string
}

/** A method with its arguments; the last argument may be keywords. */
export type Step = readonly [method: string, args?: readonly unknown[], keywords?: object]

export type Calls = (...path: readonly Step[]) => Promise<Said>

export interface Dataiku {
  /** An APINodeAdminClient, or an APINodeClient of a service. */
  client(className: string, args: readonly string[], keywords?: object): Promise<Calls>
}

export function dataiku(t: Test): Dataiku {
  const child = spawn(python, [join(ROOT, 'test/interop/dataiku_driver.py')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.teardown(() => child.stdin.end())
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  let clients = 0
  const ask = async (line: object): Promise<Said> => {
    const text = JSON.stringify(line).replaceAll(/"<(-?Infinity|NaN)>"/g, '$1')
    child.stdin.write(`${text}\n`)
    const { value, done } = await lines.next()
    if (done === true) throw new Error('the Python client has ended')
    return JSON.parse(value)
  }
  return {
    async client(className, args, keywords = {}) {
      clients += 1
      const name = `client ${clients}`
      await ask({ new: name, class: className, args, keywords })
      return (...path) =>
        ask({ of: name, path: path.map(([method, args = [], more = {}]) => [method, args, more]) })
    },
  }
}
