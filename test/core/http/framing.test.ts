/**
 * Goal: no request is hidden inside another, whatever stands in a head or between chunks, and what
 * cannot be read disturbs nobody.
 *
 * Method: the real uWebSockets.js listener and heads that no client library would write.
 */

import t from 'tap'
import { healthy, type Listening, listening, rawClients } from '../../tools/listening.ts'
import { CHUNKED, head, refused } from '../../tools/raw-http.ts'

const server: Listening = await listening({ limitBytes: 100_000 })
const client = rawClients(t, server)

t.test(
  'U9: lengths and encodings that two parsers could read differently are refused',
  async (t) => {
    const hidden = 'GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n'
    const ambiguous = [
      head('Content-Length: 4', CHUNKED),
      head(CHUNKED, 'Content-Length: 4'),
      head('Content-Length: 4', 'Content-Length: 40'),
      head('Content-Length: 4', 'Content-Length: 4'),
      head('Transfer-Encoding: gzip, chunked'),
      head('Transfer-Encoding: Chunked'),
      head('Transfer-Encoding: xchunked'),
      head(CHUNKED, CHUNKED),
      head('Transfer-Encoding: identity'),
      head('Content-Length: 4, 4'),
      head('Content-Length: +4'),
      head('Content-Length: 0x4'),
      head('Content-Length: -1'),
    ]
    for (const start of ambiguous) {
      const label = start.split('\r\n').slice(2).join(' ')
      const { status, closed } = await refused(client(), `${start}0\r\n\r\n${hidden}`)
      t.not(status, 200, `${label} -> ${status}`)
      t.ok(closed, `${label} closes`)
    }
    for (const framing of ['Transfer-Encoding: gzip, chunked', 'Transfer-Encoding: Chunked']) {
      const answer = await refused(client(), `${head(framing)}0\r\n\r\n`)
      t.same(answer, { status: 400, code: 'ERR_REQUEST_INVALID', closed: true })
    }
    const twice = await refused(client(), `${head('Content-Length: 4', 'Content-Length: 5')}abcd`)
    t.same(twice, { status: 400, code: 'ERR_REQUEST_INVALID', closed: true })
    const apart = client().send(`${head('Content-Length: 4', 'Content-Length: 4')}abcd`)
    await new Promise((resolve) => setTimeout(resolve, 5))
    apart.send(hidden)
    t.ok(await apart.end())
    t.notOk(server.paths.includes('/hidden'), 'no hidden request came through')
    await healthy(t, server)
  },
)

t.test('header lines that only some parsers understand reach no handler', async (t) => {
  const seen = server.paths.length
  const lines = [
    'Transfer-Encoding : chunked',
    'Transfer-Encoding\t: chunked',
    'Transfer-Encoding: chunked\r\n , gzip',
    'X: a\nTransfer-Encoding: chunked',
    'Content-Length: 4\r\nX: y\nTransfer-Encoding: chunked',
    '\0Transfer-Encoding: chunked',
    'Transfer-Encoding: chunked\0',
    'Content-Length : 4',
    'Content-Length:\r\nContent-Length: 4',
    'Content-Length: 4\r\nTransfer-Encoding:',
    'Content-Length: 18446744073709551620',
  ]
  const sent = lines.map((line) => client().send(`${head(line)}0\r\n\r\n`))
  const answers = await Promise.all(sent.map((raw) => raw.answers(1, 500)))
  for (const [i, [answer]] of answers.entries()) {
    t.ok(answer === undefined || answer.status >= 400, JSON.stringify(lines[i]))
  }
  for (const raw of sent) raw.destroy()
  t.equal(server.paths.length, seen)
  await healthy(t, server)
})

t.test('broken chunks never become a body', async (t) => {
  const seen = server.bodies.length
  const broken = [
    'zz\r\nabc\r\n',
    '5;a\nb\r\nhello',
    '1000000000000000\r\nx',
    '-1\r\n',
    '3\r\nabcdef',
  ]
  for (const chunk of broken) {
    const raw = client().send(head(CHUNKED), chunk, '0\r\n\r\n')
    const [answer] = await raw.answers(1, 500)
    t.ok(
      answer === undefined || answer.status >= 400,
      `${JSON.stringify(chunk)}: ${answer?.status}`,
    )
    raw.destroy()
  }
  t.equal(server.bodies.length, seen, 'no handler got one')
  await healthy(t, server)
})

t.test('U8: headers of 12 KB fit, of 17 KB and of 120 lines do not', async (t) => {
  const [fits] = await client()
    .send(head(`X: ${'a'.repeat(12_000)}`, 'Content-Length: 0'))
    .answers()
  t.equal(fits?.status, 200)
  const large = await refused(client(), head(`X: ${'a'.repeat(17_000)}`, 'Content-Length: 0'))
  t.match(large, { status: 431, closed: true })
  const many = Array.from({ length: 120 }, (_, i) => `X-${i}: a`)
  t.match(await refused(client(), head(...many, 'Content-Length: 0')), {
    status: 431,
    closed: true,
  })
  await healthy(t, server)
})

t.test('request lines that are odd', async (t) => {
  const odd = [
    'POST /a\0b HTTP/1.1',
    'GET http://x/echo HTTP/1.1',
    'OPTIONS * HTTP/1.1',
    'CONNECT x:443 HTTP/1.1',
    'FOO /echo HTTP/1.1',
    'GET /echo HTTP/1.0',
    'GET /echo HTTP/9.9',
    'GET /%2e%2e/%00/%zz HTTP/1.1',
    'GET  /two-spaces HTTP/1.1',
    `GET /${'u'.repeat(20_000)} HTTP/1.1`,
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  ]
  for (const line of odd) {
    const raw = client().send(
      Buffer.from(`${line}\r\nHost: x\r\nContent-Length: 0\r\n\r\n`, 'latin1'),
    )
    await raw.answers(1, 200)
    raw.destroy()
  }
  const [slashes] = await client().send('GET //a///b?x=//1 HTTP/1.1\r\nHost: x\r\n\r\n').answers()
  t.equal(slashes?.status, 200)
  t.equal(server.paths.at(-1), '/a/b', 'duplicate slashes are collapsed')
  await healthy(t, server)
})
