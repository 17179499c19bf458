/**
 * Runs a bundle through the node's own forge, in its process and under its limits: what it accepts
 * here a node accepts, as far as the node's own connections and interpreters are not asked for.
 */

import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import type { Fault } from '../../../core/base/errors.ts'
import { SILENT } from '../../../core/base/logger.ts'
import { LIMITS } from '../../../core/config/limits.ts'
import type { RuntimeSettings } from '../../../core/config/runtimes.ts'
import { findProgram } from '../../bundle/child-limits.ts'
import { createForge } from '../../bundle/forge-client.ts'
import type { ChildTools } from '../../bundle/limited-child.ts'
import type { ForgeOutcome, ForgeTask } from '../../contracts.ts'
import { runtimeSettings } from '../../runtimes.ts'
import type { Call, OptionRow, Shell } from '../command.ts'
import { CommandFailure, EXIT } from '../failures.ts'
import { Progress } from '../progress.ts'
import { nodeSettings } from '../settings.ts'
import { folderIn } from './scratch.ts'

/** Those of the node that say what a bundle is tried with. */
export const TRIAL_OPTIONS: readonly OptionRow[] = [
  { name: '--service <id>', about: 'try it as a generation of this service' },
  { name: '--config <file>', about: 'config file of a node: its connections, issuers, limits' },
  { name: '--python <program>', about: 'interpreter of Python endpoints (default: python3)' },
  { name: '--rscript <program>', about: 'interpreter of R endpoints (default: Rscript)' },
]

export type Forged = Extract<ForgeOutcome, { kind: 'forged' }>

export interface Trial {
  readonly archive: string
  readonly archiveBytes: number
  /** Name of the file that is, or would be, uploaded. */
  readonly fileName: string
}

/** What was forged, where, and what only its node can know. */
export interface Tried {
  readonly forged: Forged
  readonly directory: string
  readonly unknown: readonly Fault[]
}

/** The surroundings of bundles on this machine. */
export interface Workshop {
  readonly scratch: string
  readonly tools: ChildTools
  readonly settings: RuntimeSettings
}

export async function openWorkshop({ shell, flags }: Call, scratch: string): Promise<Workshop> {
  const config = nodeSettings(shell, flags, ['config', 'python', 'rscript'])
  const { env } = shell
  const home = { environments: await folderIn(scratch, 'environments') }
  const runDirectory = await folderIn(scratch, 'run')
  const queryUrl = `http://127.0.0.1:${config.port}`
  const settings = runtimeSettings({ config, home, runDirectory, env, queryUrl })
  return { scratch, settings, tools: toolsOf(shell) }
}

export function toolsOf({ env, cores }: Shell): ChildTools {
  const path = env['PATH'] ?? ''
  const [prlimit, setpriv] = [findProgram('prlimit', path), findProgram('setpriv', path)]
  return { prlimit, setpriv, env, cores, awaited: true }
}

/** Throws what the forge refuses. */
export async function tryBundle(call: Call, workshop: Workshop, trial: Trial): Promise<Tried> {
  const { shell, flags } = call
  const config = nodeSettings(shell, flags, ['config', 'python', 'rscript'])
  const knowsNode = flags.text('config') !== null || shell.env['SWITCHYARD_CONFIG'] !== undefined
  const issuers = config.issuers.map(({ name, audiences }) => ({ name, audiences }))
  const forge = createForge({
    ...workshop.tools,
    entry: shell.forgeEntry,
    memoryBytesMin: config.forgeMemoryBytes,
    timeMs: config.forgeMs,
    runtimes: workshop.settings,
    issuers: knowsNode ? issuers : null,
    logger: SILENT,
  })
  const directory = await mkdtemp(join(workshop.scratch, 'unpacked-'))
  const { archive, archiveBytes, fileName } = trial
  const task: ForgeTask = {
    archive,
    directory,
    fileName,
    serviceId: flags.text('service'),
    generationId: null,
    diskBytesMax: LIMITS.bundleUnpackedBytesMax,
    withoutNode: true,
  }
  const progress = new Progress(shell)
  const outcome = await forge.run(task, archiveBytes, {
    onNamed: () => {},
    onPhase: (phase, detail, done) => {
      const label = detail === '' ? phase : `${phase}: ${detail}`
      progress.show(label, done?.doneBytes ?? null, done?.totalBytes ?? null)
    },
  })
  progress.end()
  if (outcome.kind === 'refused') throw refusalOf(outcome)
  return { forged: outcome, directory, unknown: unknownOf(outcome, knowsNode) }
}

function refusalOf({ code, detail, faults }: Extract<ForgeOutcome, { kind: 'refused' }>) {
  const [first] = faults
  const isOne = faults.length === 1 && first !== undefined
  const place = isOne && first.path !== '' ? `${first.path}: ` : ''
  const line = isOne ? `${place}${first.reason}` : detail
  const many = faults.length > 1 ? `${faults.length} things are wrong with the bundle:` : line
  return new CommandFailure(many, { exitCode: EXIT.failed, code, faults })
}

/** Beside what the forge has left out: issuers, when nobody has said which node it will be. */
function unknownOf({ plan, untried = [] }: Forged, knowsNode: boolean): Fault[] {
  const { token } = plan.authorization
  if (token === undefined || knowsNode) return [...untried]
  const cure = '--config names the config file of a node that has it'
  const reason = `the issuer "${token.issuer}" is known to its node only; ${cure}`
  return [...untried, { path: 'authorization.issuer', reason }]
}
