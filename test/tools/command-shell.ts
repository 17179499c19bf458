/**
 * Runs commands in this process, in a world that the test makes: for what they do and say. That a
 * process of theirs starts and ends is for the tests that start it.
 */

import { availableParallelism } from 'node:os'
import type { Shell } from '../../admin/cli/command.ts'
import { runCommandLine } from '../../admin/cli/run.ts'
import { commands } from '../../admin/cli/table.ts'
import { compiled } from '../../bench/paths.ts'
import {
  type Cleaner,
  environment,
  jsonOf,
  type Ran,
  type Workplace,
  workplace,
} from './command.ts'

/** `homeFolder` is where profiles are. */
export function shellOf(homeFolder: string, over: Partial<Shell> = {}): Shell {
  return {
    env: {},
    cores: 2,
    version: '1.2.3',
    homeFolder,
    stdin: stdinOf(''),
    out: () => {},
    err: () => {},
    columns: null,
    ask: null,
    forgeEntry: '',
    draftEntry: '',
    ...over,
  }
}

export async function* stdinOf(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text)
}

export async function runHere(shell: Shell, argv: readonly string[]): Promise<Ran> {
  const said = { stdout: '', stderr: '' }
  const code = await runCommandLine({
    rows: commands(),
    argv,
    shell: {
      ...shell,
      out: (text) => {
        said.stdout += text
      },
      err: (text) => {
        said.stderr += text
      },
    },
  })
  return { code, ...said }
}

/** As `workplace`, but `switchyard` and `json` run here, one after the other. */
export function workplaceHere(t: Cleaner, env: Readonly<Record<string, string>> = {}): Workplace {
  const place = workplace(t, env)
  const shell = shellOf(place.path, {
    env: environment(place.path, env),
    cores: availableParallelism(),
    forgeEntry: compiled('workers/forge/main.ts'),
    draftEntry: compiled('workers/drafts/main.ts'),
  })
  const switchyard = (...args: readonly string[]): Promise<Ran> =>
    inFolder(place.path, () => runHere(shell, args))
  return { ...place, switchyard, json: jsonOf(switchyard) }
}

let isElsewhere = false

/** Commands read paths as relative to the folder of the process, of which there is one. */
async function inFolder<T>(path: string, run: () => Promise<T>): Promise<T> {
  if (isElsewhere) throw new Error('two commands cannot run here at once')
  const before = process.cwd()
  isElsewhere = true
  process.chdir(path)
  try {
    return await run()
  } finally {
    process.chdir(before)
    isElsewhere = false
  }
}
