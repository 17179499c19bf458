/**
 * What the endpoints of a bundle share, made before the first of them is forged: the Python
 * environment, tables that rows are looked up in, and the database file of the embedded SQL. What
 * cannot be made is told with the faults of the endpoints that do without it.
 */

import type { EnvironmentPlan } from '../../core/bundle/plan.ts'
import { isPython, type PrepareOptions } from './needs.ts'
import { type MadeTables, makeTables } from './tables.ts'
import { type EndpointRefused, refusal } from './task.ts'

export interface Prepared extends MadeTables {
  /** Null: the node's interpreter as it is. */
  readonly environment: EnvironmentPlan | null
  /** Endpoints of Python code cannot be tried: their environment could not be made. */
  readonly lacksEnvironment: boolean
  readonly refusals: readonly EndpointRefused[]
}

export async function prepare(options: PrepareOptions): Promise<Prepared> {
  const made = await makeTables(options)
  const environment = await makeEnvironment(options)
  const isRefused = environment !== null && 'code' in environment
  return {
    ...made,
    environment: isRefused ? null : environment,
    lacksEnvironment: isRefused,
    refusals: isRefused ? [...made.refusals, environment] : made.refusals,
  }
}

async function makeEnvironment({
  manifest,
  directory,
  settings,
  tell,
}: PrepareOptions): Promise<EnvironmentPlan | EndpointRefused | null> {
  const { python } = manifest
  if (python === undefined || !manifest.endpoints.some(isPython)) return null
  const say = (line: string): void => tell('environment', line)
  say(python.requirements)
  const { planEnvironment, ensureEnvironment } = await import('../python/environment.ts')
  const given = { requirements: python.requirements, wheels: python.wheels ?? null }
  try {
    const plan = await planEnvironment(given, { directory, settings })
    await ensureEnvironment(plan, { directory, settings, onLine: say })
    return plan
  } catch (error) {
    return refusal(error, 'python')
  }
}
