/**
 * Goal: memory is bounded whatever the writer does, and every line is written or counted as lost.
 * Method: an outbox whose messages this test takes, keeps, answers or loses, as a writer that is
 * quick, stuck, dead or absent would.
 */

import t from 'tap'
import { Composer } from '../../../core/query-log/compose.ts'
import { EndpointLog } from '../../../core/query-log/endpoint-log.ts'
import { Outbox, ServiceCount } from '../../../core/query-log/outbox.ts'
import type { LinesMessage, Source } from '../../../core/query-log/protocol.ts'
import { FACT, FACTS, factsOf, Slab } from '../../../core/query-log/slab.ts'
import { ALL, linesOf, pendingOf } from '../../tools/logged.ts'

const MIB = 1024 * 1024
const SUBJECT = { serviceId: 'svc', endpointId: 'score', generationId: 'v1' }
const LONG = `"${'x'.repeat(30_000)}"`

function posting() {
  const count = new ServiceCount('svc')
  const sent: LinesMessage[] = []
  const writer = { isThere: true }
  const outbox = new Outbox({
    counts: new Map([['svc', count]]),
    post: (message, transfer) => {
      if (!writer.isThere) return false
      if (message.kind === 'lines') sent.push(structuredClone(message, { transfer: [...transfer] }))
      return true
    },
  })
  const logOf = (subject: Omit<Source, 'callerId'> = SUBJECT) =>
    new EndpointLog({ outbox, count, policy: ALL, subject })
  const composer = new Composer()
  /** What the writer would make of the next messages, and that it says so. */
  const write = (message: LinesMessage): string => {
    const chunks = composer.chunks(message)
    const text = chunks.flatMap(({ pieces }) => pieces.map((one) => Buffer.from(one).toString()))
    const written = chunks.map(({ serviceId, lines }) => [serviceId, lines] as const)
    outbox.returned({ kind: 'done', buffer: message.buffer, written, lost: [] })
    return text.join('')
  }
  return { count, sent, writer, outbox, log: logOf(), logOf, write }
}

t.test('a writer that is stuck', async (t) => {
  const { count, sent, outbox, log, write } = posting()
  const asked = 20_000
  for (let i = 0; i < asked; i++) log.record(pendingOf({ body: LONG }), 200, LONG)
  const held = sent.reduce((sum, { buffer }) => sum + buffer.byteLength, 0)
  t.ok(held > 8 * MIB && held < 20 * MIB, `${held} bytes for ${asked} lines`)
  const { dropped } = count.drain()
  t.equal(count.recorded, asked)
  t.ok(dropped > asked / 2, 'most were dropped')

  // It goes on: what it holds it writes, and it hears of what was dropped.
  const writeAll = () => sent.splice(0).flatMap((message) => linesOf(write(message))).length
  const before = sent.flatMap((message) => message.dropped)
  const lines = writeAll()
  t.same(before, [], 'while it was stuck nothing was made for what was dropped')
  outbox.post()
  t.same(
    sent.map((message) => message.dropped),
    [[['svc', dropped]]],
  )
  t.equal(writeAll(), 0)
  t.equal(count.recorded, lines + dropped, 'written or dropped')
  t.equal(count.settled, count.recorded)
  t.equal(count.drain().written, lines)
})

t.test('a writer that dies, and one that is not there', async (t) => {
  const { count, sent, writer, outbox, log, write } = posting()
  for (let i = 0; i < 100; i++) log.record(pendingOf({}), 200, LONG)
  sent.splice(0)
  outbox.writerLost()
  t.same(count.drain(), { written: 0, dropped: 100, trouble: null }, 'what was with it is lost')
  writer.isThere = false
  const asked = 1_000
  for (let i = 0; i < asked; i++) log.record(pendingOf({}), 200, LONG)
  t.same(sent, [])
  const { dropped } = count.drain()
  t.ok(dropped > 900 && dropped < asked, 'one slab is kept for the next writer')
  writer.isThere = true
  outbox.post()
  const [message] = sent
  t.same(message?.dropped, [['svc', 100 + dropped]])
  if (message === undefined) return
  t.equal(linesOf(write(message)).length, asked - dropped, 'it knows whose they are')
})

t.test('more sources than can be known', async (t) => {
  const { count, sent, writer, logOf, outbox, write } = posting()
  const ask = (from: number, to: number) => {
    for (let i = from; i < to; i++) {
      logOf({ ...SUBJECT, endpointId: `e${i}` }).record(pendingOf({}), 200, `"${i}"`)
    }
  }
  const check = () => {
    outbox.post()
    const lines = sent.splice(0).flatMap((message) => linesOf(write(message)))
    for (const line of lines) if (line.endpoint !== `e${line.answer}`) t.fail('of another source')
    return lines.length
  }
  ask(0, 10_000)
  t.equal(check(), 10_000)
  writer.isThere = false
  ask(0, 10_000)
  const { dropped } = count.drain()
  t.ok(dropped > 5_000, `${dropped} of 10,000 while nobody takes them`)
  writer.isThere = true
  t.equal(check(), 10_000 - dropped)
  ask(20_000, 21_000)
  t.equal(check(), 1_000)
  const endpointId = 'x'.repeat(16_000)
  logOf({ ...SUBJECT, endpointId }).record(pendingOf({}), 200, '1')
  outbox.post()
  const [, source] = sent[0]?.sources[0] ?? []
  t.equal(source?.endpointId?.length, 256, 'an id that a caller has made up takes little')
})

t.test('an answer that was given before the slab of its line was opened', async (t) => {
  const slab = new Slab()
  slab.open(1_000_000, 50)
  for (const endedMs of [45, 50, 57]) {
    slab.begin(10)
    slab.noRequest()
    slab.answer('{}')
    slab.end(0, 200, 0, endedMs)
  }
  const facts = factsOf(slab.buffer)
  t.same(
    [0, 1, 2].map((line) => facts[line * FACTS + FACT.afterMs]),
    [0, 0, 7],
  )
})
