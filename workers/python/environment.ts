/**
 * Virtual environments of bundles: one folder for each hash, made once and then only read.
 *
 * A folder is made under a name of its own and renamed when it is complete, so that two who make
 * the same do not meet, and a build that was killed leaves nothing that looks finished.
 */

import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { access, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { nowMs, wallMs } from '../../core/base/clock.ts'
import { AppError } from '../../core/base/errors.ts'
import type { EnvironmentPlan } from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { RuntimeSettings } from '../../core/config/runtimes.ts'
import { interpreter } from './interpreter.ts'
import { runProgram } from './program.ts'
import { requirementFaults } from './requirements.ts'

export interface EnvironmentSources {
  /** Of the unpacked generation. */
  readonly directory: string
  readonly settings: RuntimeSettings
  /** Lines of what is going on, for people. */
  readonly onLine: (line: string) => void
}

const VERSION_MS = 10_000
const LAST_LINES = 10

/**
 * Puts what `ensurepip` would install into the environment that runs it, from the same wheels. They
 * are unpacked and not installed, because pip takes seven seconds for it, most of them to compile
 * what the one run of it never loads.
 */
const UNPACK_PIP = `
import glob, os, sys, sysconfig, zipfile
try:
    import ensurepip
except ImportError:
    sys.exit(1)
own = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
folder = sysconfig.get_config_var("WHEEL_PKG_DIR") or own
names = ["pip", "setuptools"] if sys.version_info < (3, 12) else ["pip"]
for name in names:
    wheels = glob.glob(os.path.join(glob.escape(folder), name + "-*.whl"))
    if len(wheels) != 1:
        sys.exit(1)
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(sysconfig.get_path("purelib"))
`

/** What the hash covers: interpreter, requirements and wheels. */
export async function planEnvironment(
  given: { readonly requirements: string; readonly wheels: string | null },
  { directory, settings }: Pick<EnvironmentSources, 'directory' | 'settings'>,
): Promise<EnvironmentPlan> {
  const python = interpreter(settings)
  const text = await readFile(join(directory, given.requirements), 'utf8')
  const faults = requirementFaults(text)
  if (faults.length > 0) throw failed(faults.map((fault) => `${given.requirements} ${fault}`))
  const version = await runProgram({
    program: python,
    args: ['-c', 'import sys; print(sys.version, sys.platform, sys.prefix)'],
    settings,
    timeoutMs: VERSION_MS,
    onLine: () => {},
  })
  if (version.how !== 'code 0') throw failed([`${python}: ${version.how}`, ...version.last])
  const hash = createHash('sha256').update(`${python}\n${version.last.join('\n')}\n${text}\n`)
  for (const [name, digest] of await wheelDigests(directory, given.wheels)) {
    hash.update(`${name} ${digest}\n`)
  }
  return { hash: hash.digest('hex'), requirements: given.requirements, wheels: given.wheels }
}

async function wheelDigests(
  directory: string,
  wheels: string | null,
): Promise<[name: string, digest: string][]> {
  if (wheels === null) return []
  const names = (await readdir(join(directory, wheels))).sort()
  const digests: [string, string][] = []
  for (const name of names) {
    const hash = createHash('sha256')
    await pipeline(createReadStream(join(directory, wheels, name)), hash)
    digests.push([name, hash.digest('hex')])
  }
  return digests
}

/** Absolute path of the environment's interpreter; makes the environment where there is none. */
export async function ensureEnvironment(
  plan: EnvironmentPlan,
  sources: EnvironmentSources,
): Promise<string> {
  const { environments } = sources.settings
  const folder = join(environments, plan.hash)
  const python = join(folder, 'bin/python')
  if (await exists(python)) return python
  await mkdir(environments, { recursive: true, mode: 0o700 })
  await removeLeftovers(environments, plan.hash)
  const unfinished = join(environments, `${plan.hash}.${randomBytes(6).toString('hex')}`)
  try {
    await make(plan, unfinished, sources)
    await rename(unfinished, folder).catch(async (error: unknown) => {
      // Somebody else was faster, and theirs is as good.
      if (!(await exists(python))) throw error
    })
    return python
  } finally {
    await rm(unfinished, { recursive: true, force: true })
  }
}

async function make(
  plan: EnvironmentPlan,
  folder: string,
  { directory, settings, onLine }: EnvironmentSources,
): Promise<void> {
  const endMs = nowMs() + LIMITS.environmentMs
  const run = (program: string, args: readonly string[]) =>
    runProgram({ program, args, settings, timeoutMs: endMs - nowMs(), onLine })
  onLine('making a virtual environment')
  const python = join(folder, 'bin/python')
  const empty = await run(interpreter(settings), ['-m', 'venv', '--without-pip', folder])
  const unpacked = empty.how === 'code 0' ? await run(python, ['-c', UNPACK_PIP]) : empty
  // With wheels elsewhere, or without the module, Python does it its own way and says what lacks.
  if (unpacked.how !== 'code 0') {
    const venv = await run(interpreter(settings), ['-m', 'venv', folder])
    if (venv.how !== 'code 0') throw venvFailure(venv.how, venv.last)
  }
  onLine(`installing ${plan.requirements}`)
  const pip = await run(python, pipArguments(plan, directory, settings))
  if (pip.how !== 'code 0') {
    throw failed([`pip: ${pip.how}`, ...pip.last.map((line) => withoutIndex(line, settings))])
  }
}

function pipArguments(
  plan: EnvironmentPlan,
  directory: string,
  { pipIndexUrl }: RuntimeSettings,
): string[] {
  const index = pipIndexUrl === null ? ['--no-index'] : ['--index-url', pipIndexUrl]
  const wheels = plan.wheels === null ? [] : ['--find-links', join(directory, plan.wheels)]
  // Source packages run code of strangers while they are built, so only wheels are taken.
  const rules = ['--isolated', '--no-input', '--only-binary', ':all:', '--no-cache-dir']
  const quiet = ['--disable-pip-version-check', '--progress-bar', 'off']
  const requirements = ['-r', join(directory, plan.requirements)]
  return ['-m', 'pip', 'install', ...rules, ...quiet, ...index, ...wheels, ...requirements]
}

function venvFailure(how: string, last: readonly string[]): AppError {
  if (/ensurepip|No module named venv/.test(last.join('\n'))) {
    const detail =
      'this bundle needs the module venv: install it with "apt-get install python3-venv"'
    return new AppError('ERR_INTERPRETER_MISSING', detail)
  }
  return failed([`venv: ${how}`, ...last])
}

/** The address of an index may hold a password. */
function withoutIndex(line: string, { pipIndexUrl }: RuntimeSettings): string {
  return pipIndexUrl === null ? line : line.replaceAll(pipIndexUrl, '<index>')
}

function failed(lines: readonly string[]): AppError {
  return new AppError('ERR_ENVIRONMENT_FAILED', lines.slice(0, LAST_LINES + 1).join('\n'))
}

/** What a killed build has left; one that still runs is younger than its limit. */
async function removeLeftovers(environments: string, hash: string): Promise<void> {
  for (const name of await readdir(environments)) {
    if (!name.startsWith(`${hash}.`)) continue
    const path = join(environments, name)
    const found = await stat(path).catch(() => null)
    if (found === null || wallMs() - found.mtimeMs < 2 * LIMITS.environmentMs) continue
    await rm(path, { recursive: true, force: true })
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
