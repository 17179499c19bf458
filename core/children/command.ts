/**
 * The command line and the environment of a child: limits are set by small programs that run in
 * front of it and become it, so that not one instruction of its own runs without them.
 */

import { readFile } from 'node:fs/promises'
import type { RuntimeSettings } from '../config/runtimes.ts'
import type { ChildSpec } from './spec.ts'
import type { WorkingFolder } from './working-folder.ts'

/** Names a child and all that it starts, whatever process group they move to. */
export const MARK = 'SWITCHYARD_CHILD'

/** Each of several children with a thread per core would only get in each other's way. */
const ONE_THREAD = [
  'OMP_NUM_THREADS',
  'OPENBLAS_NUM_THREADS',
  'MKL_NUM_THREADS',
  'NUMEXPR_NUM_THREADS',
  'VECLIB_MAXIMUM_THREADS',
]

export interface Command {
  readonly program: string
  readonly args: readonly string[]
}

/** What this process may not exceed itself; a child cannot be given more without privileges. */
interface OwnLimits {
  readonly memoryBytes: number
  readonly fileBytes: number
}

export interface CommandOptions {
  readonly spec: ChildSpec
  readonly settings: RuntimeSettings
  /** Threads that this user may have in all; null: the kernel would not look (root). */
  readonly threadsMax: number | null
}

export async function commandOf(options: CommandOptions): Promise<Command> {
  const { spec, settings, threadsMax } = options
  const line = [spec.program, ...spec.args]
  if (settings.setpriv !== null) line.unshift(settings.setpriv, '--pdeathsig', 'KILL', '--')
  if (settings.prlimit !== null) {
    const own = await ownLimits()
    const memory = Math.min(spec.limits.memoryBytes, own.memoryBytes)
    const file = Math.min(spec.limits.fileBytesMax, own.fileBytes)
    const nproc = threadsMax === null ? [] : [`--nproc=${threadsMax}`]
    line.unshift(settings.prlimit, `--as=${memory}`, `--fsize=${file}`, '--core=0', ...nproc, '--')
  }
  const [program = spec.program, ...args] = line
  return { program, args }
}

export function environmentOf(
  spec: ChildSpec,
  settings: RuntimeSettings,
  folder: WorkingFolder,
): Record<string, string> {
  return {
    ...settings.environment,
    ...Object.fromEntries(ONE_THREAD.map((name) => [name, '1'])),
    HOME: folder.home,
    TMPDIR: folder.temporary,
    ...spec.env,
    [MARK]: folder.root,
  }
}

/** The forge runs within limits of its own, which its children inherit. */
async function ownLimits(): Promise<OwnLimits> {
  const text = await readFile('/proc/self/limits', 'utf8').catch(() => '')
  const hard = (name: string): number => {
    const found = text.match(new RegExp(`^${name} +\\S+ +(\\d+)`, 'm'))
    return found === null ? Number.POSITIVE_INFINITY : Number(found[1])
  }
  return { memoryBytes: hard('Max address space'), fileBytes: hard('Max file size') }
}
