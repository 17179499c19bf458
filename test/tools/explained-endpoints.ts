/**
 * Endpoints with explanations as a node has them: forged, opened by the runtime that serves, and
 * asked the way dispatch does: sent on to the lane, then slice by slice.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { ROOT } from '../../bench/paths.ts'
import type { ZipEntry } from '../../bench/workloads/zip-writer.ts'
import type { EndpointReport, GenerationPlan } from '../../core/bundle/plan.ts'
import { localHost } from '../../workers/children/local-host.ts'
import { openRuntime } from '../../workers/open-runtime.ts'
import type { BatchJob, WorkerOutcome } from '../../workers/protocol.ts'
import type { Runtime } from '../../workers/runtime.ts'
import { runForge, runForgeHere } from './forge-child.ts'
import { jobOf } from './plans.ts'
import { randomOf } from './random.ts'
import { runtimes } from './runtimes.ts'
import { unpacking } from './unpacking.ts'

export type Json = Readonly<Record<string, ReturnType<typeof JSON.parse>>>
export type Files = Readonly<Record<string, string | Buffer>>

/** A test, or whoever else cleans up at its end. */
type Ends = Pick<Test, 'teardown'>

export interface ExplainedBundle {
  readonly directory: string
  readonly plan: GenerationPlan
  readonly reports: readonly EndpointReport[]
  open(endpoint?: number): Promise<Runtime>
}

function entriesOf(endpoints: readonly object[], files: Files, tables: readonly object[] = []) {
  const manifest = JSON.stringify({ formatVersion: 1, tables, endpoints })
  const entries = Object.entries(files).map(([name, data]) => ({ name, data }))
  return [{ name: 'service.json', data: manifest }, ...entries]
}

/** By the real child: for what a forge measures. */
export function forgeBundle(
  t: Ends,
  endpoints: readonly object[],
  ...[files, tables]: [Files, (readonly object[])?]
): Promise<ExplainedBundle> {
  return forgedBy(runForge, t, entriesOf(endpoints, files, tables))
}

/** In this process. */
export function forgeBundleHere(
  t: Ends,
  endpoints: readonly object[],
  ...[files, tables]: [Files, (readonly object[])?]
): Promise<ExplainedBundle> {
  return forgedBy(runForgeHere, t, entriesOf(endpoints, files, tables))
}

async function forgedBy(
  runner: typeof runForge,
  t: Ends,
  entries: readonly ZipEntry[],
): Promise<ExplainedBundle> {
  const settings = runtimes(t)
  const run = await runner(entries, { settings })
  t.teardown(() => run.remove())
  const { verdict, directory } = run
  if (verdict?.kind !== 'forged') throw new Error(JSON.stringify(verdict))
  const { plan, report } = verdict
  const children = await localHost(settings, () => {})
  t.teardown(() => children.close())
  const open = async (at = 0): Promise<Runtime> => {
    const endpoint = plan.endpoints[at]
    if (endpoint === undefined) throw new Error(`there is no endpoint ${at}`)
    const runtime = await openRuntime(endpoint, {
      serviceId: 'svc',
      generationId: 'g1',
      directory,
      tables: plan.tables ?? [],
      settings,
      children,
      spares: 0,
      report: () => {},
      log: () => {},
    })
    t.teardown(() => runtime.release())
    return runtime
  }
  return { directory, plan, reports: report.endpoints, open }
}

/** The demo forest (wine) with a background of 100 rows, mixed of those of its test queries. */
export async function forestBundle(t: Ends) {
  const archive = readFileSync(join(ROOT, 'bench/demo/wine-v1.zip'))
  const { directory } = await unpacking(t).run(archive)
  const manifest = JSON.parse(readFileSync(join(directory, 'service.json'), 'utf8'))
  const [endpoint] = manifest.endpoints
  const rows: Record<string, number>[] = endpoint.testQueries.map(
    ({ q }: { q: { features: Record<string, number> } }) => q.features,
  )
  const random = randomOf(7)
  const names = Object.keys(rows[0] ?? {})
  const background = Array.from({ length: 100 }, () =>
    Object.fromEntries(
      names.map((name) => [name, (random.pick(rows)[name] ?? 0) * (0.9 + random.next() / 5)]),
    ),
  )
  const explained = { ...endpoint, explanations: { background: 'rows.json' } }
  const bundle = await forgeBundle(t, [explained], {
    [endpoint.model]: readFileSync(join(directory, endpoint.model)),
    'rows.json': JSON.stringify(background),
  })
  return { ...bundle, rows }
}

/** Faults of a bundle that must not be forged, as `path: reason`. */
export async function faultsOf(
  t: Test,
  endpoints: readonly object[],
  files: Files,
): Promise<{ readonly code: string; readonly told: readonly string[] }> {
  const run = await runForgeHere(entriesOf(endpoints, files), { settings: runtimes(t) })
  await run.remove()
  const { verdict } = run
  if (verdict?.kind !== 'refused') throw new Error(`not refused: ${JSON.stringify(verdict)}`)
  const told = verdict.faults.map(({ path, reason }) => `${path}: ${reason}`)
  return { code: verdict.code, told }
}

export interface Told {
  /** The whole answer; null: a failure. */
  readonly answer: Json | null
  readonly text: string
  readonly code: string
  readonly detail: string
  readonly slices: number
}

export interface AskOptions {
  readonly verb?: 'single' | 'multi'
  /** Slices are run by these in turn. */
  readonly threads?: readonly Pick<Runtime, 'run'>[]
  readonly waitUs?: number
}

/** A request from its first lane to its answer. */
export async function askExplained(
  runtime: Pick<Runtime, 'run'>,
  body: object,
  { verb = 'single', threads = [runtime], waitUs = 0 }: AskOptions = {},
): Promise<Told> {
  const job = (): BatchJob => {
    return { ...jobOf([JSON.stringify(body)], verb), waitUs: Uint32Array.of(waitUs) }
  }
  let outcome = await runtime.run(job())
  let slices = 0
  if (outcome.kind === 'answers' && outcome.reroutes !== undefined) {
    const [reroute] = outcome.reroutes
    if (reroute?.kind !== 'explain') throw new Error(JSON.stringify(reroute))
    let state = structuredClone(reroute.state)
    do {
      const thread = threads[slices % threads.length] ?? runtime
      outcome = await thread.run({ ...job(), verb: 'explain', state })
      slices += 1
      if (outcome.kind === 'continues') state = structuredClone(outcome.state)
    } while (outcome.kind === 'continues')
  }
  return toldOf(outcome, slices)
}

function toldOf(outcome: WorkerOutcome, slices: number): Told {
  if (outcome.kind !== 'answers') throw new Error(JSON.stringify(outcome))
  const [failure] = outcome.failures ?? []
  if (failure !== undefined) {
    const { code, detail } = failure
    return { answer: null, text: '', code, detail, slices }
  }
  const text = String(outcome.bodies[0])
  return { answer: JSON.parse(text), text, code: '', detail: '', slices }
}
