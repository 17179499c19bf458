/**
 * Goal: both views say the same, in the form that their readers expect.
 * Method: known requests go through a real recorder into the store; the JSON is validated against
 * the shared admin API document, the text by promtool where it is installed and by a parser here.
 */

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import t from 'tap'
import { parse } from 'yaml'
import type { NodeInfo } from '../../../core/metrics/prometheus.ts'
import { Recorder } from '../../../core/metrics/recorder.ts'
import { MetricsStore } from '../../../core/metrics/store.ts'
import { SHARED } from '../../tools/paths.ts'

const INFO: NodeInfo = {
  version: '0.1.0',
  nodeVersion: 'v20.0.0',
  uptimeS: 12.5,
  services: 2,
  generationsLoaded: 2,
  generationsCold: 7,
  imports: 1,
  serveReplacements: { died: 1, asked: 0 },
  serveProcesses: { starting: 0, serving: 1, retiring: 1 },
  stoppedEndpoints: [{ serviceId: 'loops', generationId: 'g', endpointId: 'e', cause: 'hangs' }],
  processes: [
    { name: 'control', pid: 1, startedAtS: 1_700_000_000.25, residentBytes: 80_000_000 },
    { name: 'serve', pid: 2, startedAtS: 1_700_000_001, residentBytes: null },
  ],
}

const HOSTILE = 'a"b\\c\nd{e="f"} 1\n# TYPE x counter\\'

/** Two services; `wine` has two generations, two endpoints and refused requests. */
function filledStore(clockMs: () => number = () => 0) {
  const recorder = new Recorder()
  const store = new MetricsStore(clockMs)
  const first = recorder.endpoint('wine', 'v1', 'predict')
  for (const us of [100, 200, 300, 400]) first.answered(200, us)
  first.answered(429, 50)
  first.queuedBatch(Uint32Array.of(10, 20, 30, 40))
  first.batch(4, 900)
  first.batch(1, 100)
  recorder.endpoint('wine', 'v2', 'predict').answered(500, 2_000)
  recorder.endpoint('wine', 'v2', 'explain').answered(200, 70_000_000)
  recorder.service('wine').answered(401)
  recorder.service('wine').answered(503)
  recorder.endpoint('iris', 'v1', 'predict').answered(200, 1_000)
  const collect = () => store.add(recorder.drain({ activeRequests: 3, connections: 7 }), 1)
  collect()
  return { recorder, store, collect }
}

t.test('JSON: counts, exact means, levels', async (t) => {
  const json = filledStore().store.json()
  t.match(json, { totalRequests: 10, activeRequests: 3, connections: 7, errorCount: 3 })
  const wine = json.serviceMetrics['wine']
  t.match(wine, {
    requestCount: 9,
    errorCount: 3,
    averageLatencyMs: (100 + 200 + 300 + 400 + 50 + 2_000 + 70_000_000) / 7 / 1000,
    statuses: { 200: 5, 401: 1, 429: 1, 500: 1, 503: 1 },
    batches: { count: 2, meanRows: 2.5 },
    endpoints: { predict: { requestCount: 6 }, explain: { requestCount: 1 } },
    generations: {
      v1: { requestCount: 5, errorCount: 1, averageLatencyMs: 0.21 },
      v2: { requestCount: 2, endpoints: { predict: { requestCount: 1, averageLatencyMs: 2 } } },
    },
  })
  const predict = wine?.generations['v1']?.endpoints['predict']?.latencyMs.sinceStart
  t.match(predict?.total, { count: 5, mean: 0.21, p50: 0.2 })
  t.ok(Math.abs((predict?.total.max ?? 0) - 0.4) <= 0.005, 'max within the resolution')
  t.match(predict?.queue, { count: 4, mean: 0.025, p50: 0.02, max: 0.04 })
  t.match(predict?.execute, { count: 2, mean: 0.5, p50: 0.1 })
  t.equal(wine?.latencyMs.sinceStart.total.max, 60_000, 'beyond the range is the end of the range')
  t.equal(json.serviceMetrics['iris']?.averageLatencyMs, 1)
  t.equal(new MetricsStore().json().averageLatencyMs, 0, 'no request: no division by zero')
})

const noSchema = SHARED === null && '../shared is absent: its openapi-admin.yml is not checked'

t.test('JSON: the Metrics schema of the admin API', { skip: noSchema }, async (t) => {
  const document = parse(readFileSync(join(SHARED ?? '', 'openapi-admin.yml'), 'utf8'))
  const schema = document.components.schemas.Metrics
  const perService = schema.properties.serviceMetrics.additionalProperties
  // The document requires no key; whoever reads it may expect all of them.
  const strict = {
    ...schema,
    required: Object.keys(schema.properties),
    properties: {
      ...schema.properties,
      serviceMetrics: {
        type: 'object',
        additionalProperties: { ...perService, required: Object.keys(perService.properties) },
      },
    },
  }
  const validate = new Ajv({ formats: { int64: true, double: true } }).compile(strict)
  for (const store of [filledStore().store, new MetricsStore()]) {
    const json: unknown = JSON.parse(JSON.stringify(store.json()))
    t.ok(validate(json), JSON.stringify(validate.errors))
  }
  t.notOk(validate({ totalRequests: 'many' }), 'the validator can say no')
})

t.test('the window forgets, the counters do not', async (t) => {
  let clockMs = 1_000_000
  const { recorder, store, collect } = filledStore(() => clockMs)
  const recent = () => {
    const { requestCount, errorCount, total } = store.json().latencyMs.lastMinute
    return [requestCount, errorCount, total.count]
  }
  t.same(recent(), [10, 3, 8])
  clockMs += 30_000
  recorder.endpoint('iris', 'v1', 'predict').answered(200, 5)
  collect()
  t.same(recent(), [11, 3, 9], 'half a minute later both halves count')
  const wine = store.json().serviceMetrics['wine']?.latencyMs.lastMinute
  t.match(wine, { requestCount: 9, errorCount: 3, total: { count: 7 } }, 'in sums of parts too')
  clockMs += 30_000
  t.same(recent(), [1, 0, 1], 'after a minute the first half is gone')
  clockMs += 3_600_000
  t.same(recent(), [0, 0, 0], 'and after an hour of silence everything')
  recorder.endpoint('iris', 'v1', 'predict').answered(200, 5)
  collect()
  t.same(recent(), [1, 0, 1])
  clockMs += 60_000
  t.same(recent(), [0, 0, 0], 'a gap of two halves skips the older one')
  t.equal(store.json().totalRequests, 12)
})

t.test('deleting a generation keeps the sums of its service', async (t) => {
  const { store } = filledStore()
  const before = store.json().serviceMetrics['wine']
  store.forget('wine', 'v1')
  store.forget('wine', 'no such generation')
  store.forget('no such service', 'v1')
  const after = store.json().serviceMetrics['wine']
  t.same(Object.keys(after?.generations ?? {}), ['v2'])
  t.same({ ...after, generations: null }, { ...before, generations: null })
  t.notMatch(store.prometheus(INFO), /service="wine",generation="v1"/)
  store.forget('wine')
  t.same(Object.keys(store.json().serviceMetrics), ['iris'])
  t.equal(store.json().totalRequests, 10, 'the counters of the node never go back')
  t.notMatch(store.prometheus(INFO), /wine/)
  store.disconnected(1)
  t.match(store.json(), { activeRequests: 0, connections: 0, totalRequests: 10 })
})

t.test('counts that come after a delete are summed up, and leave no series', async (t) => {
  const { recorder, store, collect } = filledStore()
  store.forget('wine', 'v1')
  recorder.endpoint('wine', 'v1', 'predict').answered(200, 5)
  recorder.service('gone').answered(503)
  collect()
  t.match(store.prometheus(INFO), /service="wine",generation="v1"/, 'for a while they show')
  store.keepOnly((service, generation) => service !== 'gone' && generation !== 'v1')
  const text = store.prometheus(INFO)
  t.notMatch(text, /service="wine",generation="v1"/)
  t.notMatch(text, /service="gone"/)
  const { wine } = store.json().serviceMetrics
  t.equal(wine?.requestCount, 10, 'nine before, and the late one')
  t.equal(store.json().totalRequests, 12)
})

interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** A reader of the text format that knows its escapes and accepts nothing else. */
function readSamples(text: string): Sample[] {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return lines.map((line) => {
    const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line)
    if (match === null) throw new Error(`not a sample: ${line}`)
    const [, name = '', labelText = '', value = ''] = match
    return { name, labels: readLabels(labelText), value: Number(value) }
  })
}

function readLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {}
  const pattern = /([a-z_]+)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/y
  while (pattern.lastIndex < text.length) {
    const match = pattern.exec(text)
    if (match === null) throw new Error(`not a label: ${text}`)
    const [, name = '', value = ''] = match
    labels[name] = value.replace(/\\(.)/g, (_, sign: string) => (sign === 'n' ? '\n' : sign))
  }
  return labels
}

t.test('Prometheus: histograms are cumulative and agree with the JSON', async (t) => {
  const { store } = filledStore()
  const samples = readSamples(store.prometheus(INFO))
  const of = (name: string, labels: Record<string, string>) =>
    samples.filter(
      (sample) =>
        sample.name === name &&
        Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
    )
  const wine = { service: 'wine', generation: 'v1', endpoint: 'predict' }
  const name = 'switchyard_request_duration_seconds'
  const buckets = of(`${name}_bucket`, wine)
  const at = (le: string) => buckets.find((sample) => sample.labels['le'] === le)?.value
  t.same([at('0.0001'), at('0.00025'), at('0.0005'), at('60'), at('+Inf')], [2, 3, 5, 5, 5])
  t.equal(of(`${name}_count`, wine)[0]?.value, 5)
  t.equal(of(`${name}_sum`, wine)[0]?.value, 0.00105)
  let previous = 0
  for (const { value } of buckets) {
    t.ok(value >= previous, 'cumulative')
    previous = value
  }
  t.equal(of('switchyard_request_queue_duration_seconds_count', wine)[0]?.value, 4)
  t.equal(of('switchyard_batch_execution_duration_seconds_count', wine)[0]?.value, 2)
  t.equal(of('switchyard_batches_total', wine)[0]?.value, 2)
  t.equal(of('switchyard_batch_rows_total', wine)[0]?.value, 5)
  t.equal(of('switchyard_requests_total', { ...wine, code: '429' })[0]?.value, 1)
  t.equal(of('switchyard_requests_total', { service: 'wine', code: '401' })[0]?.value, 1)
  const all = of('switchyard_requests_total', {}).reduce((sum, sample) => sum + sample.value, 0)
  t.equal(all, store.json().totalRequests)
  t.same(of('switchyard_active_requests', {})[0]?.value, 3)
  t.equal(of('switchyard_serve_replacements_total', { reason: 'died' })[0]?.value, 1)
  t.equal(of('switchyard_serve_replacements_total', { reason: 'asked' })[0]?.value, 0)
  t.equal(of('switchyard_serve_processes', { state: 'retiring' })[0]?.value, 1)
  const stopped = { service: 'loops', generation: 'g', endpoint: 'e', cause: 'hangs' }
  t.equal(of('switchyard_endpoint_stopped', stopped)[0]?.value, 1)
  t.same(of('switchyard_process_resident_memory_bytes', {}).length, 1, 'unknown is absent, not 0')
})

t.test('what is going on is summed over the processes that live', async (t) => {
  const { recorder, store } = filledStore()
  store.add(recorder.drain({ activeRequests: 1, connections: 10 }), 2)
  t.match(store.json(), { activeRequests: 4, connections: 17 })
  store.add(recorder.drain({ activeRequests: 0, connections: 5 }), 1)
  t.match(store.json(), { activeRequests: 1, connections: 15 })
  store.disconnected(2)
  t.match(store.json(), { activeRequests: 0, connections: 5 })
})

t.test('bytes that are held are summed, and what was given up for them only grows', async (t) => {
  const { recorder, store } = filledStore()
  const add = (source: number, bytes: number, sheds: [string, number][]) => {
    const held = { bodies: bytes, answers: 2 * bytes }
    const delta = recorder.drain({ activeRequests: 0, connections: 0, held })
    store.add({ ...delta, sheds }, source)
  }
  const told = () =>
    readSamples(store.prometheus(INFO))
      .filter(({ name }) => /_held_bytes|_sheds_total/.test(name))
      .map(({ labels, value }) => [labels['of'] ?? labels['kind'], value])
  const none = [0, 0, 0, 0, 0]
  t.same(
    told().map(([, value]) => value),
    none,
    'there before anything happens',
  )
  add(1, 10, [['reader', 2]])
  add(2, 5, [
    ['reader', 1],
    ['body', 4],
  ])
  t.same(told(), [
    ['bodies', 15],
    ['answers', 30],
    ['body', 4],
    ['answer', 0],
    ['reader', 3],
  ])
  add(1, 0, [])
  store.disconnected(2)
  t.same(told(), [
    ['bodies', 0],
    ['answers', 0],
    ['body', 4],
    ['answer', 0],
    ['reader', 3],
  ])
})

t.test('lines of query logs, and what is wrong with them', async (t) => {
  let clockMs = 1_000_000
  const { recorder, store } = filledStore(() => clockMs)
  const add = (source: number, written: number, dropped: number, trouble: string | null = null) => {
    const queryLog = [{ serviceId: 'wine', written, dropped, trouble }]
    store.add({ ...recorder.drain({ activeRequests: 0, connections: 0 }), queryLog }, source)
  }
  t.notMatch(store.prometheus(INFO), /query_log/, 'nothing is logged')
  t.notOk('queryLog' in (store.json().serviceMetrics['wine'] ?? {}))
  add(1, 5, 0)
  t.same(store.logTrouble('wine'), { isDropping: false, code: null })
  add(2, 6, 2, 'ENOSPC')
  t.same(store.logTrouble('wine'), { isDropping: true, code: 'ENOSPC' })
  t.same(store.json().serviceMetrics['wine']?.queryLog, { written: 11, dropped: 2 })
  const samples = readSamples(store.prometheus(INFO))
  const lines = samples.filter(({ name }) => name === 'switchyard_query_log_lines_total')
  t.same(
    lines.map(({ labels, value }) => [labels['service'], labels['outcome'], value]),
    [
      ['wine', 'written', 11],
      ['wine', 'dropped', 2],
    ],
  )
  add(1, 1, 0)
  t.equal(store.logTrouble('wine').code, 'ENOSPC', 'of the other process still')
  store.add(recorder.drain({ activeRequests: 0, connections: 0 }), 2)
  t.same(store.logTrouble('wine'), { isDropping: true, code: null }, 'silence is no trouble')
  clockMs += 60_000
  t.equal(store.logTrouble('wine').isDropping, false, 'a minute later it is no news')
  add(2, 0, 0, 'EACCES')
  store.disconnected(2)
  t.equal(store.logTrouble('wine').code, null, 'trouble goes with its process')
  t.same(store.logTrouble('nobody'), { isDropping: false, code: null })
})

t.test('Prometheus: hostile label values stay values', async (t) => {
  const recorder = new Recorder()
  const store = new MetricsStore()
  recorder.endpoint(HOSTILE, 'v1', 'constructor').answered(200, 10)
  recorder.service('__proto__').answered(401)
  store.add(recorder.drain({ activeRequests: 0, connections: 0 }), 1)
  const services = new Set<string | undefined>()
  for (const { name, labels } of readSamples(store.prometheus(INFO))) {
    if (name === 'switchyard_requests_total') services.add(labels['service'])
  }
  t.same(services, new Set([HOSTILE, '__proto__']))
  t.same(Object.keys(store.json().serviceMetrics), [HOSTILE, '__proto__'])
})

const probe = spawnSync('promtool', ['--version'], { timeout: 60_000 })
const noPromtool = probe.error !== undefined && 'promtool is not installed: text not checked by it'

t.test('Prometheus: promtool finds nothing to say', { skip: noPromtool }, async (t) => {
  const { store, recorder, collect } = filledStore()
  recorder.endpoint(HOSTILE, 'v1', 'predict').answered(200, 10)
  collect()
  for (const text of [store.prometheus(INFO), new MetricsStore().prometheus(INFO)]) {
    const check = promtool(text)
    t.same({ status: check.status, said: check.said }, { status: 0, said: '' })
  }
  t.not(promtool('# TYPE bad counter\nbad{x=1} 1\n').status, 0, 'promtool can say no')

  function promtool(input: string) {
    const options = { input, encoding: 'utf8', timeout: 60_000 } as const
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], options)
    return { status, said: stdout + stderr }
  }
})
