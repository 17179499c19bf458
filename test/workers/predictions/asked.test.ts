/**
 * Goal: what a request asks for beside its rows is done or refused by name, for models and code
 * alike: another generation, a sticky key, explanations, a context, features in the query of a GET;
 * and a request that is sent on costs its neighbours nothing. Method: batches as dispatch packs
 * them, to a real model and to real Python.
 */

import t from 'tap'
import type { ExplanationPlan } from '../../../core/bundle/depth-plan.ts'
import type { BatchJob, WorkerOutcome } from '../../../workers/protocol.ts'
import type { Runtime } from '../../../workers/runtime.ts'
import { open, releaseAll } from '../../tools/asking.ts'
import { regressor } from '../../tools/onnx-models.ts'
import { jobOf, summing } from '../../tools/plans.ts'
import { predictionPlan, pythonPlace, whyNoPython } from '../../tools/python-endpoints.ts'

t.teardown(releaseAll)

const features = { x0: 1, x1: 2 }
type Runs = Pick<Runtime, 'run'>

interface Told {
  readonly outcome: Extract<WorkerOutcome, { kind: 'answers' }>
  /** `prediction` of each answer, its error, or where it was sent. */
  readonly got: readonly unknown[]
}

async function tell(runs: Runs, bodies: readonly object[], extra: Partial<BatchJob> = {}) {
  const job = jobOf(
    bodies.map((body) => JSON.stringify(body)),
    extra.verb,
  )
  const outcome = await runs.run({ ...job, ...extra })
  if (outcome.kind !== 'answers') throw new Error(JSON.stringify(outcome))
  const got = bodies.map((_, i) => {
    const failure = outcome.failures?.find(({ index }) => index === i)
    const sent = outcome.reroutes?.find(({ index }) => index === i)
    const body = outcome.bodies[i] ?? ''
    const states = [failure, sent, body === '' ? undefined : body]
    if (states.filter((one) => one !== undefined).length !== 1) throw new Error('one of the three')
    if (failure !== undefined) return `${failure.code}: ${failure.detail}`
    if (sent !== undefined) return sent
    const { result, results } = JSON.parse(Buffer.from(body).toString())
    return results ?? result.prediction
  })
  return { outcome, got } satisfies Told
}

const model = (other: object = {}) => open(regressor(2), summing('', 2), other)

const CODE = `
class Predictor:
    def __init__(self, data_folder=None):
        pass
    def predict(self, rows):
        return [row["x0"] + row["x1"] for row in rows]
`

async function everyKind(
  t: Parameters<typeof pythonPlace>[0],
  check: (runs: Runs, kind: string) => Promise<void>,
): Promise<void> {
  await check(await model(), 'model')
  const why = whyNoPython('pandas')
  if (why !== false) return void t.comment(`without Python: ${why}`)
  const place = await pythonPlace(t, { 'code.py': CODE })
  const declared = summing('', 2).features
  for (const requestMetadata of [false, true]) {
    const plan = predictionPlan({ features: declared }, { requestMetadata })
    await check((await place.open(plan)).runtime, `code, metadata ${requestMetadata}`)
  }
}

t.test('dispatch leads elsewhere where that makes a difference, and only there', async (t) => {
  const to = (index: number, generationId: string) => ({ index, kind: 'generation', generationId })
  const by = (index: number, dispatchKey: string) => ({ index, kind: 'dispatchKey', dispatchKey })
  const dispatches = [
    { forcedGeneration: 'g2' },
    { forcedGeneration: 'g1', dispatchKey: 'u' },
    { dispatchKey: 'u' },
    { forcedGeneration: 'g2', dispatchKey: 'u' },
    { forcedGeneration: null, dispatchKey: null },
    {},
    null,
  ]
  const bodies = dispatches.map((dispatch) => ({ features, dispatch }))
  await everyKind(t, async (runs, kind) => {
    const whole = await tell(runs, bodies)
    t.strictSame(whole.got, [to(0, 'g2'), 3, 3, to(3, 'g2'), 3, 3, 3], `${kind}: not split`)
    const split = await tell(runs, bodies, { split: true })
    t.strictSame(split.got, [to(0, 'g2'), 3, by(2, 'u'), to(3, 'g2'), 3, 3, 3], `${kind}: split`)
    const settled = new Uint8Array(bodies.length).fill(1)
    const here = await tell(runs, bodies, { split: true, settled })
    t.strictSame(here.got, [3, 3, 3, 3, 3, 3, 3], `${kind}: sent on once, never twice`)
    t.equal(here.outcome.reroutes, undefined)
    const some = await tell(runs, bodies, { split: true, settled: Uint8Array.of(0, 0, 1, 1) })
    t.strictSame(some.got, [to(0, 'g2'), 3, 3, 3, 3, 3, 3], `${kind}: one by one`)
    const items = [{ features }, { features: { x0: 5 } }, { features }]
    const multi = [{ items, dispatch: { forcedGeneration: 'g2' } }, { items }]
    const many = await tell(runs, multi, { verb: 'multi' })
    t.match(many.got, [to(0, 'g2'), [{ prediction: 3 }, { ignored: true }, { prediction: 3 }]])
    const sent = await tell(runs, [{ items: 7, dispatch: { forcedGeneration: 'g2' } }], {
      verb: 'multi',
    })
    t.strictSame(sent.got, [to(0, 'g2')], `${kind}: rows are judged where they are answered`)
  })
})

t.test('what is of the wrong type is refused by name, alone', async (t) => {
  const wrong: [object, string][] = [
    [{ dispatch: 'g2' }, '"dispatch" must be an object or null'],
    [{ dispatch: [] }, '"dispatch" must be an object or null'],
    [{ dispatch: { forcedGeneration: 2 } }, '"dispatch.forcedGeneration" must be a text or null'],
    [
      { dispatch: { forcedGeneration: 'g2', dispatchKey: 1 } },
      '"dispatch.dispatchKey" must be a text or null',
    ],
    [{ context: 'x' }, '"context" must be an object or null'],
    [{ context: [1] }, '"context" must be an object or null'],
    [{ explanations: true }, '"explanations" must be an object'],
    [{ explanations: { enabled: 1 } }, '"explanations.enabled" must be true or false'],
  ]
  const bodies = wrong.flatMap(([extra]) => [
    { features, ...extra },
    { features, context: {} },
  ])
  await everyKind(t, async (runs, kind) => {
    const { got } = await tell(runs, bodies)
    for (const [i, [extra, detail]] of wrong.entries()) {
      t.equal(got[2 * i], `ERR_BODY_INVALID: ${detail}`, `${kind}: ${JSON.stringify(extra)}`)
      t.equal(got[2 * i + 1], 3, 'the neighbour is answered')
    }
    const items = [{ features, context: 1 }, { features, context: { a: 1 } }, { features }]
    const multi = await tell(runs, [{ items }, { items, context: 1 }], { verb: 'multi' })
    t.match(multi.got, [
      [
        { ignored: true, error: { code: 'ERR_BODY_INVALID', message: /"context" must be/ } },
        { prediction: 3 },
        { prediction: 3 },
      ],
      'ERR_BODY_INVALID: "context" must be an object or null',
    ])
  })
})

t.test('explanations go to their lane, with all that was left open filled in', async (t) => {
  const plan: ExplanationPlan = {
    enabled: false,
    method: 'SHAPLEY',
    nExplanations: 3,
    nMonteCarloSteps: 100,
    background: 'background.json',
  }
  const request = { method: 'SHAPLEY', nExplanations: 3, nMonteCarloSteps: 100 }
  const able = await model({ explanations: plan })
  const nothing = { enabled: null, method: null, nExplanations: null, nMonteCarloSteps: null }
  const asked = [
    { ...nothing, enabled: true },
    { enabled: true, method: 'ICE', nExplanations: 1, nMonteCarloSteps: 25 },
    nothing,
    { enabled: false, method: 'ICE' },
    null,
  ]
  const bodies = asked.map((explanations) => ({ features, explanations }))
  const explain = (index: number, verb: string, other: object = {}) => ({
    index,
    kind: 'explain',
    state: { verb, request: { ...request, ...other } },
  })
  const full = { method: 'ICE', nExplanations: 1, nMonteCarloSteps: 25 }
  const { got } = await tell(able, bodies)
  t.strictSame(got, [explain(0, 'single'), explain(1, 'single', full), 3, 3, 3])
  const multi = await tell(able, [{ items: [], explanations: asked[0] }], { verb: 'multi' })
  t.strictSame(multi.got, [explain(0, 'multi')])
  const forced = { features, explanations: asked[0], dispatch: { forcedGeneration: 'g2' } }
  t.match((await tell(able, [forced])).got, [{ kind: 'generation' }], 'the other node explains')
  const settled = Uint8Array.of(1)
  t.match((await tell(able, [forced], { settled })).got, [{ kind: 'explain' }], 'as it does then')

  const always = await model({ explanations: { ...plan, enabled: true } })
  const other = [{ features }, { features, explanations: nothing }, bodies[3] ?? {}]
  t.match((await tell(always, other)).got, [{ kind: 'explain' }, { kind: 'explain' }, 3])

  const unable = await tell(await model(), bodies)
  t.match(unable.got[0], /^ERR_EXPLANATION_UNAVAILABLE: .*background sample/)
  t.same(unable.got.slice(2), [3, 3, 3])
  const steps = { enabled: true, nMonteCarloSteps: 1_001 }
  const range = await tell(able, [{ features, explanations: steps }])
  t.match(range.got[0], /ERR_BODY_INVALID: "explanations.nMonteCarloSteps".*25 to 1000/)
})

t.test('a GET has its features in the query', async (t) => {
  const get = (query: string) => ({ method: 'GET', path: '/', query, headers: [] })
  const post = { ...get(''), method: 'POST' }
  const cases: [string, unknown][] = [
    ['x0=1&x1=2', 3],
    ['x0=%31%2E5&x1=+2+&other=a%20b', 3.5],
    ['x0=1', 'ERR_FEATURE_INVALID: feature "x1" is missing'],
    ['x0=1&x1=', 'ERR_FEATURE_INVALID: feature "x1" is missing'],
    ['x0=1&x1=two', 'ERR_FEATURE_INVALID: feature "x1" must be a number, got "two"'],
    ['', 'ERR_FEATURE_INVALID: feature "x0" is missing'],
    ['x0=1&x1=2&x0=3', 'ERR_BODY_INVALID: the query has the feature "x0" twice'],
    ['x0=1&x1=%ff', 'ERR_BODY_INVALID: the query is not valid UTF-8'],
    ['x0=1&x1=2&dispatch=g2&context=7', 3],
    ['x0=1&x1=2&__proto__=5', 3],
  ]
  await everyKind(t, async (runs, kind) => {
    const bodies = [...cases.map(() => ({})), { features }]
    const requests = [...cases.map(([query]) => get(query)), post]
    const job = jobOf([...cases.map(() => ''), JSON.stringify({ features })])
    const { bytes, ends } = job
    const { got } = await tell(runs, bodies, { requests, bytes, ends })
    for (const [i, [query, wanted]] of cases.entries()) t.equal(got[i], wanted, `${kind}: ${query}`)
    t.equal(got.at(-1), 3, 'beside one that was posted')
  })
})
