/**
 * Goal: every kind of answer goes out alike over both ways of carrying HTTP: JSON as text or as
 * bytes, of any size, to readers of any pace, and what code of a bundle answers by itself, of which
 * nothing reaches the caller that could break HTTP.
 *
 * Method: both real listeners with a handler that gives what the test has laid down, raw sockets.
 */

import t from 'tap'
import type { Exchange, RawReply } from '../../../core/http/exchange.ts'
import { type Listening, listening, rawClients, SERVERS } from '../../tools/listening.ts'
import { head, post, type RawAnswer } from '../../tools/raw-http.ts'
import { until } from '../../tools/waiting.ts'

type Act = (exchange: Exchange, body: Uint8Array) => void

const utf8 = (text: string) => Uint8Array.from(Buffer.from(text))
const NOTHING = new Uint8Array(0)

function raw(status: number, headers: RawReply['headers'], body: Uint8Array): RawReply {
  return { status, headers, body }
}

const valuesOf = ({ headers }: RawAnswer, wanted: string) =>
  headers.flatMap(([name, value]) => (name === wanted ? [value] : []))

for (const kind of SERVERS) {
  let act: Act = () => {}
  const handler = (exchange: Exchange) =>
    exchange.readBody(100_000, (body) => {
      act(exchange, body)
    })
  const server: Listening = await listening({ limitBytes: 0, handler, server: kind })
  const client = rawClients(t, server)

  const ask = async (next: Act, request = post('x')) => {
    act = next
    const [answer] = await client().send(request).answers()
    if (answer === undefined) throw new Error('no answer')
    return answer
  }
  const askRaw = (reply: RawReply) => ask((exchange) => exchange.replyRaw(reply))

  t.test(`${kind}: JSON as bytes`, async (t) => {
    // A view: only its own bytes may go out.
    const around = Buffer.from('SECRET{"a":"é"}SECRET')
    const view = new Uint8Array(around.buffer, around.byteOffset + 6, around.length - 12)
    const answer = await ask((exchange) => exchange.replyJson(view))
    t.equal(answer.status, 200)
    t.equal(answer.body.toString(), '{"a":"é"}')
    t.match(Object.fromEntries(answer.headers), {
      'content-type': 'application/json',
      'dss-version': '1.2.3',
      'content-length': '10',
    })
    const names = answer.headers.map(([name]) => name)
    t.equal(new Set(names).size, names.length, 'no header twice')
    t.equal((await ask((exchange) => exchange.replyJson(NOTHING))).body.length, 0)
    t.equal((await ask((exchange) => exchange.replyJson('"é"'))).body.toString(), '"é"')
  })

  t.test(`${kind}: large answers reach a slow reader whole, and one that leaves`, async (t) => {
    const large = Buffer.alloc(6_000_000, '0123456789')
    const acts: Act[] = [
      (exchange) => exchange.replyJson(large),
      (exchange) => exchange.replyRaw(raw(200, [], large)),
    ]
    for (const next of acts) {
      act = next
      const slow = client()
      slow.socket.pause()
      slow.send(post('x'))
      await until(() => server.active() === 1)
      await new Promise((resolve) => setTimeout(resolve, 50))
      t.equal(server.active(), 1, 'not over before it is sent')
      slow.socket.resume()
      const [answer] = await slow.answers()
      t.ok(answer?.body.equals(large))
      const leaving = client()
      leaving.socket.pause()
      leaving.send(post('x'))
      await until(() => server.active() === 1)
      leaving.destroy()
      await until(() => server.active() === 0)
    }
  })

  t.test(`${kind}: an answer of the code's own making goes out as it is`, async (t) => {
    const body = Uint8Array.from([0, 255, 13, 10, 1])
    const lines = [
      ['Content-Type', 'image/png'],
      ['Set-Cookie', 'a=1; Path=/'],
      ['set-cookie', 'b=2'],
      ['X-Name', 'caf\u00e9'],
      ['X-Tab', 'a\tb'],
      ['X-Content-Type-Options', 'none'],
    ] as const
    const answer = await askRaw(raw(418, lines, body))
    t.equal(answer.status, 418)
    t.ok(answer.body.equals(body))
    t.same(valuesOf(answer, 'content-type'), ['image/png'])
    t.same(valuesOf(answer, 'set-cookie'), ['a=1; Path=/', 'b=2'])
    t.same(valuesOf(answer, 'x-name'), ['caf\u00e9'], 'one byte a character')
    t.same(valuesOf(answer, 'x-tab'), ['a b'])
    t.same(valuesOf(answer, 'x-content-type-options'), ['none'])
    t.same(valuesOf(answer, 'dss-version'), ['1.2.3'])
    t.same(valuesOf(await askRaw(raw(200, [], body)), 'content-type'), ['application/octet-stream'])
    t.equal((await askRaw(raw(599, [], body))).status, 599, 'a status without a name')
  })

  t.test(`${kind}: what would break HTTP is left out`, async (t) => {
    const bad = [
      ['Content-Length', '1'],
      ['content-length', '9999'],
      ['Transfer-Encoding', 'chunked'],
      ['Connection', 'close'],
      ['Keep-Alive', 'timeout=9'],
      ['Upgrade', 'h2c'],
      ['Trailer', 'X'],
      ['DSS-Version', 'faked'],
      ['Date', 'never'],
      ['X-Split', 'a\r\nX-Evil: 1'],
      ['X-Line', 'a\nX-Evil: 1'],
      ['X-Nul', 'a\0b'],
      ['X-Wide', '\u20ac'],
      ['X-Evil: 1\r\nX-Name', 'a'],
      ['X Evil', 'a'],
      ['X-Evil:', 'a'],
      ['', 'evil'],
      ['X-G\u00e9', 'evil'],
      ['Content-Type', 'text/html\r\nX-Evil: 1'],
      ['X-Good', 'fine'],
    ] as const
    const connection = client()
    act = (exchange) => exchange.replyRaw(raw(200, bad, utf8('body')))
    for (let round = 0; round < 2; round++) {
      const [answer] = await connection.send(post('x')).answers()
      t.equal(answer?.body.toString(), 'body', 'the connection goes on')
      if (answer === undefined) continue
      t.same(valuesOf(answer, 'x-good'), ['fine'])
      t.same(valuesOf(answer, 'content-length'), ['4'])
      t.same(valuesOf(answer, 'dss-version'), ['1.2.3'])
      t.notOk(valuesOf(answer, 'date').includes('never'))
      const ours = ['content-type', 'content-length', 'dss-version', 'dss-api-version', 'x-good']
      const natives = ['date', 'uwebsockets', 'connection', 'keep-alive', 'x-content-type-options']
      const odd = answer.headers.filter(([name]) => ![...ours, ...natives].includes(name))
      t.same(odd, [])
      t.notMatch(JSON.stringify(answer.headers), /evil|h2c|timeout=9/i)
    }
  })

  t.test(`${kind}: statuses without a body`, async (t) => {
    const connection = client()
    for (const status of [204, 304, 205]) {
      const lines = [
        ['ETag', '"1"'],
        ['Content-Type', 'text/plain'],
      ] as const
      act = (exchange) => exchange.replyRaw(raw(status, lines, utf8('not to be sent')))
      const [answer] = await connection.send(post('x')).answers()
      t.equal(answer?.status, status)
      if (answer === undefined) continue
      t.same(valuesOf(answer, 'etag'), ['"1"'])
      t.same(valuesOf(answer, 'content-length'), status === 205 ? ['0'] : [])
      t.same(valuesOf(answer, 'content-type'), [])
    }
    act = (exchange) => exchange.replyJson('"next"')
    const [next] = await connection.send(post('x')).answers()
    t.equal(next?.body.toString(), '"next"', 'nothing of them is left on the connection')
  })

  t.test(`${kind}: HEAD has the head of the answer only`, async (t) => {
    const acts: [Act, number][] = [
      [(exchange) => exchange.replyJson(utf8('"é"')), 4],
      [(exchange) => exchange.replyRaw(raw(200, [], utf8('12345'))), 5],
    ]
    for (const [next, length] of acts) {
      act = next
      const connection = client().send('HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n')
      await until(() => connection.bytes.includes('\r\n\r\n'))
      await new Promise((resolve) => setTimeout(resolve, 20))
      const text = connection.bytes.toString('latin1')
      t.match(text.toLowerCase(), new RegExp(`content-length: ${length}\r\n`))
      t.ok(text.endsWith('\r\n\r\n'), 'no body follows')
    }
  })

  t.test(`${kind}: all header lines, and bodies of no byte`, async (t) => {
    let seen: unknown = null
    let bytes = -1
    const note = (exchange: Exchange) => {
      seen = exchange.headers()
      exchange.readBody(10, (body) => {
        bytes = body.byteLength
        exchange.replyJson('{}')
      })
    }
    const noting = await listening({ limitBytes: 0, handler: note, server: kind })
    t.teardown(() => noting.close())
    const lines = ['X-Two: 1', 'x-two: 2', 'X-Empty:', 'Content-Length: 0']
    t.equal(
      (
        await client(noting.port)
          .send(head(...lines))
          .answers()
      )[0]?.status,
      200,
    )
    t.same(seen, [
      ['host', 'x'],
      ['x-two', '1'],
      ['x-two', '2'],
      ['x-empty', ''],
      ['content-length', '0'],
    ])
    t.equal(bytes, 0)
    for (const bare of ['POST', 'GET']) {
      bytes = -1
      const request = `${bare} /x HTTP/1.1\r\nHost: x\r\n\r\n`
      t.equal((await client(noting.port).send(request).answers())[0]?.status, 200, bare)
      t.equal(bytes, 0, `${bare} without any body`)
    }
  })
}
