/**
 * Goal: what the main thread writes into a slot is what the worker reads, and what has no room, or
 * more to it than bodies and numbers, is told apart.
 *
 * Method: both ends over one memory; a thread that sleeps on it is woken by each announcement.
 */

import { Worker } from 'node:worker_threads'
import t from 'tap'
import { compiled } from '../../../bench/paths.ts'
import { JobSlot, type UnsentJob } from '../../../core/channel/job-slot.ts'
import { LIMITS } from '../../../core/config/limits.ts'
import type { WorkerOutcome } from '../../../workers/protocol.ts'

interface Given {
  readonly bodies: readonly string[]
  readonly isPlain?: boolean
  readonly verb?: UnsentJob['verb']
  readonly endpoint?: number
}

function unsent({ bodies, isPlain = true, verb = 'single', endpoint = 0 }: Given): UnsentJob {
  let size = 0
  const ends = Uint32Array.from(bodies, (body) => {
    size += Buffer.byteLength(body)
    return size
  })
  const all = Buffer.from(bodies.join(''))
  const waitUs = Uint32Array.from(bodies, (_, i) => 10 * i)
  const copyTo = (bytes: Uint8Array) => bytes.set(all)
  const toJob = () => ({ endpoint, verb, bytes: new Uint8Array(all), ends, waitUs })
  return { endpoint, verb, ends, waitUs, isPlain, copyTo, toJob }
}

function many(requests: number): string[] {
  return new Array(requests).fill('row')
}

t.test('a job comes out as it went in, whatever lay there before', async (t) => {
  const ours = new JobSlot()
  const theirs = new JobSlot(ours.memory)
  const rounds: Given[] = [
    { bodies: ['{"a":1}', 'ü', ''], verb: 'multi', endpoint: 7 },
    { bodies: ['x'], verb: 'explain' },
    { bodies: many(LIMITS.batchRowsMax), endpoint: 99 },
    { bodies: ['z'.repeat(LIMITS.slotBodyBytes)] },
    { bodies: ['short'] },
  ]
  for (const given of rounds) {
    const job = unsent(given)
    t.ok(ours.put(job))
    const { endpoint, verb, bytes, ends, waitUs } = job.toJob()
    const read = theirs.take()
    t.match(read, { endpoint, verb, ends, waitUs })
    t.equal(Buffer.compare(read?.bytes ?? Buffer.alloc(0), bytes), 0, 'not a byte more')
    t.equal(theirs.take(), null, 'once')
  }
})

t.test('what has no room or more to it is a message', async (t) => {
  const slot = new JobSlot()
  t.notOk(slot.put(unsent({ bodies: ['z'.repeat(LIMITS.slotBodyBytes), 'z'] })))
  t.notOk(slot.put(unsent({ bodies: many(LIMITS.batchRowsMax + 1) })))
  t.notOk(slot.put(unsent({ bodies: ['x'], isPlain: false })))
  t.equal(slot.take(), null)
  t.throws(() => slot.put(unsent({ bodies: [] })), /a batch holds a request/)
})

t.test('answers come back as they were given', (t) => {
  const ours = new JobSlot()
  const theirs = new JobSlot(ours.memory)
  for (const bodies of [['{"a":1}', '"ü €"', '', '[]'], ['x'], many(LIMITS.batchRowsMax)]) {
    const outcome = { kind: 'answers' as const, bodies, failures: null, executeUs: 12.5 }
    const text = theirs.putAnswers(outcome)
    t.equal(text, bodies.join(''))
    t.same(ours.answersIn(text ?? ''), outcome)
    t.equal(ours.take(), null, 'which leaves no job behind')
  }
  t.end()
})

t.test('an outcome that is more than answers in text is a message', (t) => {
  const slot = new JobSlot()
  const plain = { kind: 'answers' as const, bodies: ['x'], failures: null, executeUs: 1 }
  const failure = { index: 0, code: 'ERR_INTERNAL' as const, detail: '' }
  const others: WorkerOutcome[] = [
    { ...plain, failures: [failure] },
    { ...plain, raw: [] },
    { ...plain, reroutes: [] },
    { ...plain, bodies: ['x', new Uint8Array(1)] },
    { ...plain, bodies: many(LIMITS.batchRowsMax + 1) },
    { kind: 'continues', state: {}, executeUs: 1 },
    { kind: 'failed', code: 'ERR_INTERNAL', detail: '' },
  ]
  for (const outcome of others) t.equal(slot.putAnswers(outcome), null)
  t.end()
})

t.test('each announcement wakes the thread once', async (t) => {
  const slot = new JobSlot()
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(${JSON.stringify(`file://${compiled('core/channel/job-slot.ts')}`)}).then((module) => {
      const slot = new module.JobSlot(workerData)
      for (;;) {
        slot.wait()
        const job = slot.take()
        if (job === null) return
        parentPort.postMessage(Buffer.from(job.bytes).toString())
      }
    })`
  const worker = new Worker(code, { eval: true, workerData: slot.memory })
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  for (let i = 0; i < 1_000; i++) {
    slot.put(unsent({ bodies: [`job ${i}`] }))
    const said = new Promise((resolve) => worker.once('message', resolve))
    slot.announce()
    if ((await said) !== `job ${i}`) t.fail(`job ${i}`)
  }
  slot.announce()
  await ended
  t.pass('a thousand jobs, and the end')
})
