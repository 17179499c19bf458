/**
 * What is run of a model before it is compiled: the test queries of its endpoints, as they run when
 * it serves, and made-up inputs.
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isObject } from '../../core/base/json.ts'
import type { OnnxEndpointPlan } from '../../core/bundle/plan.ts'
import { queryBodies, tryBody } from '../forge/queries.ts'
import type { Enricher } from '../lookup/enrich.ts'
import { Predictor } from '../onnx/predictor.ts'
import type { Model } from '../onnx/session.ts'
import { enricherOf } from '../predictions/enricher.ts'
import type { CompileRequest } from '../protocol.ts'
import { runMadeUp } from './feeds.ts'

export async function prove(model: Model, request: CompileRequest): Promise<void> {
  const queries = await testQueries(request.directory)
  for (const plan of request.endpoints) {
    const bodies = new Set([...(queries.get(plan.id) ?? []), ...plan.warmUp])
    if (bodies.size > 0) await runBodies(model, request, { plan, bodies: [...bodies] })
  }
  await runMadeUp(model, request.endpoints)
}

interface Asking {
  readonly plan: OnnxEndpointPlan
  readonly bodies: readonly string[]
}

async function runBodies(
  model: Model,
  request: CompileRequest,
  { plan, bodies }: Asking,
): Promise<void> {
  const { directory, tables, settings } = request
  const generation = { serviceId: '', generationId: '' }
  const place = { ...generation, directory, tables, settings, children: null, spares: 0 }
  const context = { ...place, report: () => {}, log: () => {} }
  let enricher: Enricher | null = null
  try {
    enricher = await enricherOf(plan, context)
  } catch {
    // Its database is away; made-up inputs have to do.
    return
  }
  try {
    const predictor = new Predictor(model, plan, { ...generation, enricher })
    for (const body of bodies) await tryBody(predictor, body)
  } finally {
    await enricher?.release()
  }
}

/** Bodies by endpoint. The manifest was checked when it came; here it is only looked into. */
async function testQueries(directory: string): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, readonly string[]>()
  const text = await readFile(join(directory, 'service.json'), 'utf8').catch(() => '{}')
  const manifest: unknown = JSON.parse(text)
  const endpoints: unknown = isObject(manifest) ? manifest['endpoints'] : null
  for (const endpoint of Array.isArray(endpoints) ? endpoints : []) {
    if (!isObject(endpoint) || typeof endpoint['id'] !== 'string') continue
    const queries: unknown[] = Array.isArray(endpoint['testQueries']) ? endpoint['testQueries'] : []
    const given = queries.flatMap((query) =>
      isObject(query) && isObject(query['q']) ? [{ q: query['q'] }] : [],
    )
    const explanations = isObject(endpoint['explanations']) ? { explanations: {} } : {}
    found.set(endpoint['id'], queryBodies({ testQueries: given, ...explanations }))
  }
  return found
}
