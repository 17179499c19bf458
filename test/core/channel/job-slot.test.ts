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

t.test('a job comes out as it went in, whatever lay there before', async (t) => {
  const ours = new JobSlot()
  const theirs = new JobSlot(ours.memory)
  const rounds: Given[] = [
    { bodies: ['{"a":1}', 'ü', ''], verb: 'multi', endpoint: 7 },
    { bodies: ['x'], verb: 'explain' },
    { bodies: new Array(LIMITS.batchRowsMax).fill('row'), endpoint: 99 },
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
  const many = new Array(LIMITS.batchRowsMax + 1).fill('')
  t.notOk(slot.put(unsent({ bodies: ['z'.repeat(LIMITS.slotBodyBytes), 'z'] })))
  t.notOk(slot.put(unsent({ bodies: many })))
  t.notOk(slot.put(unsent({ bodies: ['x'], isPlain: false })))
  t.equal(slot.take(), null)
  t.throws(() => slot.put(unsent({ bodies: [] })), /a batch holds a request/)
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
