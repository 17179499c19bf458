/**
 * Goal: no body stops an endpoint of any type, costs another caller his answer, or gets one that is
 * not documented. Method: bodies near to good ones, with a seed, to all types of endpoints in one
 * service; now and then a good one, which must be answered as ever. SEED=… repeats a run,
 * EFFORT=10 sends 200,000.
 */

import t, { type Test } from 'tap'
import { Connection, type Outcome } from '../../bench/connection.ts'
import { ERROR_TABLE } from '../../core/base/errors.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { allTypesBundle, verbOf } from '../tools/bundles.ts'
import { bundleOf } from '../tools/client.ts'
import { effortShare, sayEffort } from '../tools/effort.ts'
import { shown } from '../tools/fuzz/bytes.ts'
import { bodyNear, type FuzzBody } from '../tools/fuzz/values.ts'
import { LOOKS, noDrift, type Watched, watchedNode } from '../tools/fuzz/watched.ts'
import { identity } from '../tools/onnx-models.ts'
import { whyNoPython } from '../tools/python-endpoints.ts'
import { type Random, randomOf } from '../tools/random.ts'
import { runtimes } from '../tools/runtimes.ts'

const BODIES = effortShare(4_000, 200_000)
const CALLERS = 24
/** One in so many is good, and its answer known. */
const GOOD_EVERY = 20
const LOOK_EVERY = Math.round(BODIES / LOOKS)

t.setTimeout(600_000)

interface Subject {
  readonly path: string
  readonly good: object
  /** The answer to it, without what differs each time. */
  answer: string
}

/** Examples whose interpreter is not here. */
const MISSING = [
  ...(whyNoPython() === false ? [] : ['python-function', 'custom-prediction']),
  ...(runtimes(t).rscript === null ? ['r-function', 'custom-r-prediction'] : []),
]

async function subjectsOf({ client }: Watched): Promise<Subject[]> {
  const { archive, endpoints } = allTypesBundle('v1', MISSING)
  await client.deploy('all', 'v1', archive)
  const tensor = bundleOf(identity({ type: 'float', shape: ['rows', 3] }), { prediction: 'RAW' })
  await client.deploy('raw', 'v1', tensor)
  const found: Subject[] = endpoints.flatMap(({ id, type, testQueries }) =>
    testQueries.map(({ q }) => ({ path: `all/${id}/${verbOf(type)}`, good: q, answer: '' })),
  )
  const some = found.filter(({ path }) => path.endsWith('/predict'))
  for (const { path, good } of some) {
    found.push({ path: `${path}-multi`, good: { items: [good, good] }, answer: '' })
  }
  found.push({ path: 'raw/p/predict', good: { features: { X: [[1, 2, 3]] } }, answer: '' })
  for (const subject of found) {
    const { status, body } = await client.query(subject.path, subject.good)
    if (status !== 200) throw new Error(`${subject.path}: ${status} ${JSON.stringify(body)}`)
    subject.answer = constantPart(JSON.stringify(body))
  }
  return found
}

/** Timing differs each time, and the last digits of a float with the rows that share its run. */
function constantPart(text: string): string {
  const { timing: _, ...body } = JSON.parse(text)
  return JSON.stringify(body, (_name, value) =>
    typeof value === 'number' ? Number(value.toPrecision(5)) : value,
  )
}

function requestOf(path: string, body: Buffer): Buffer {
  const head = `POST /public/api/v1/${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}`
  return Buffer.concat([Buffer.from(`${head}\r\n\r\n`), body])
}

function codeOf({ status, body }: Extract<Outcome, { kind: 'answer' }>): string {
  return status === 200 ? '200' : `${status} ${JSON.parse(body.toString()).code}`
}

/** What none of these bodies may lead to: all but what says something of the body itself. */
const NEVER = ['ERR_INTERNAL', 'ERR_WORKER_LOST', 'ERR_POOL_DOWN', 'ERR_CHILD_LOST', 'ERR_DEADLINE']

function faultOf(outcome: Outcome, asked: FuzzBody): string | null {
  if (outcome.kind === 'failed') {
    // It is refused and closed before all of it is sent, and the close can overtake the answer.
    return asked.bytes.byteLength > LIMITS.bodyBytesMax ? null : `no answer: ${outcome.reason}`
  }
  const { status } = outcome
  const text = outcome.body.toString()
  if (status === 200) {
    if (asked.isBroken) return `answered although it is no JSON: ${text.slice(0, 200)}`
    JSON.parse(text)
    return null
  }
  const { code } = JSON.parse(text)
  const row = Object.entries(ERROR_TABLE).find(([name]) => name === code)?.[1]
  if (row?.status !== status) return `${code} with status ${status}`
  return NEVER.includes(code) ? text.slice(0, 300) : null
}

interface Tally {
  readonly codes: Record<string, number>
  readonly faults: string[]
}

async function attack(watched: Watched, subjects: Subject[], random: Random): Promise<Tally> {
  const tally: Tally = { codes: {}, faults: [] }
  const looks: Promise<void>[] = []
  let sent = 0
  const caller = async (): Promise<void> => {
    const connection = new Connection({ host: '127.0.0.1', port: watched.queryPort })
    const ask = (path: string, body: Buffer) =>
      new Promise<Outcome>((done) => connection.send(requestOf(path, body), done))
    while (sent < BODIES && tally.faults.length < 10) {
      sent += 1
      const number = sent
      const { path, good, answer } = random.pick(subjects)
      const isGood = number % GOOD_EVERY === 0
      const near = bodyNear(random, good)
      const body = isGood ? Buffer.from(JSON.stringify(good)) : near.bytes
      const outcome = await ask(path, body)
      const fault = isGood ? changedAnswer(outcome, answer) : faultOf(outcome, near)
      const where = `SEED=${random.seed} no. ${number} ${path}`
      if (fault !== null) tally.faults.push(`${where}: ${fault}\n${shown(body)}`)
      const key = outcome.kind === 'answer' ? codeOf(outcome) : outcome.reason
      tally.codes[key] = (tally.codes[key] ?? 0) + 1
      // Not waited for: a connection that is silent for ten seconds is closed.
      if (number % LOOK_EVERY === 0) looks.push(watched.look())
    }
    connection.close('the caller has gone')
  }
  await Promise.all(Array.from({ length: CALLERS }, caller))
  await Promise.all(looks)
  return tally
}

function changedAnswer(outcome: Outcome, answer: string): string | null {
  if (outcome.kind === 'failed') return `no answer: ${outcome.reason}`
  const now = constantPart(outcome.body.toString())
  return outcome.status === 200 && now === answer ? null : `a good one: ${outcome.status} ${now}`
}

t.test('bodies for endpoints of every type', async (t: Test) => {
  const watched = await watchedNode(t, { env: { SWITCHYARD_PYTHON: '/usr/bin/python3' } })
  const subjects = await subjectsOf(watched)
  const random = randomOf()
  const startMs = performance.now()
  const { codes, faults } = await attack(watched, subjects, random)
  for (const fault of faults) t.fail(fault)
  await watched.check(t)
  const memory = watched.memory()
  noDrift(t, memory)
  const seconds = Math.round((performance.now() - startMs) / 1000)
  sayEffort({
    ...{ jsonBodies: BODIES, endpoints: subjects.length, seed: random.seed, seconds },
    ...{ ...memory, codes: JSON.stringify(codes) },
  })
  t.ok(codes['200'] && codes['400 ERR_BODY_INVALID'], 'good and bad ones')
})
