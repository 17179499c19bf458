/**
 * Goal: a Python function answers what it returns and is told what it was sent; what is wrong is
 * told to the caller in one sentence and to the log with its traceback.
 * Method: real children behind openPython, one endpoint per question.
 */

import { once } from 'node:events'
import { createServer } from 'node:http'
import t from 'tap'
import { shown } from '../../../workers/messages.ts'
import { functionPlan, pythonPlace, whyNoPython } from '../../tools/python-endpoints.ts'
import { until } from '../../tools/waiting.ts'

const skip = whyNoPython()
const withPandas = whyNoPython('numpy', 'pandas')

const CODE = `
import asyncio, datetime, decimal, enum, os, sys
from helper import double

def add(a, b=2):
    print("adding", a)
    return {"sum": a + b, "text": "é\\u2028"}

def everything(**kwargs):
    return kwargs

def positional(a, *rest, c):
    return [a, c]

def nothing():
    pass

_loops = set()
async def later(n):
    _loops.add(id(asyncio.get_running_loop()))
    await asyncio.sleep(0.005)
    return [n, len(_loops)]

async def later_fails():
    await asyncio.sleep(0)
    raise KeyError("k")

class Colour(enum.Enum):
    RED = "red"

def values(kind):
    nan = float("nan")
    return {
        "floats": [nan, float("inf"), -float("inf"), 1e300, 0.1],
        "times": [datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, 3, 4, 5)],
        "decimals": [decimal.Decimal("1.50"), decimal.Decimal("7"), decimal.Decimal("NaN")],
        "sets": {5}, "tuples": (1, (2,)), "enums": Colour.RED,
        "keys": {1: 2, None: 3, True: 4, 1.5: 5, datetime.date(2020, 1, 2): 6},
        "big": 2 ** 70, "half": "\\udcff",
        "bytes": b"x", "object": [0, {"a": object()}], "generator": (i for i in []),
        "nested": [nan] * 3, "loop": None,
    }[kind]

def loops():
    a = []
    a.append(a)
    return a

def fails(kind):
    if kind == "value":
        raise ValueError("no such file: /srv/secret/models/a.pkl or '/home/x/y z' at http://h/a/b")
    if kind == "long": raise ValueError("x" * 100000)
    if kind == "surrogate": raise ValueError("bad \\udcff text")
    if kind == "unprintable":
        class Odd(Exception):
            def __str__(self): raise RuntimeError("no")
        raise Odd()
    if kind == "exit": sys.exit(3)
    if kind == "interrupt": raise KeyboardInterrupt()
    if kind == "system": raise SystemExit
    if kind == "custom": raise DkuCustomApiException("come back later", http_status_code=429)
    if kind == "odd": raise DkuCustomApiException("odd", http_status_code=99)
    if kind == "memory": bytearray(1 << 62)
    if kind == "deep":
        def f(): return f()
        f()

def floats(n):
    return [i / 7 for i in range(n)]

def big(mb):
    return "x" * (mb << 20)

def where():
    open("new.txt", "w").write("x")
    return [open("data/a.txt").read(), os.path.exists(__file__), sorted(os.listdir(".")), double(4)]
`
const FILES = {
  'src/code.py': CODE,
  'src/helper.py': 'def double(x): return 2 * x\n',
  'data/a.txt': 'A',
}
const plan = (name: string, more: object = {}) =>
  functionPlan({ file: 'src/code.py', name, ...more })

t.test('arguments and answers', { skip }, async (t) => {
  const { open, log } = await pythonPlace(t, FILES)
  const add = await open(plan('add'))
  t.match(add.runtime.program, /^Python 3\.\d+\.\d+$/)
  const told = await add.batch([{ body: { a: 1 }, waitUs: 2_500 }])
  t.match(told, [
    {
      answer: {
        response: { sum: 3, text: 'é\u2028' },
        timing: { wait: 2.5, execution: Number, functionInternal: Number },
        apiContext: { serviceId: 'svc', endpointId: 'ep', serviceGeneration: 'g1' },
      },
    },
  ])
  // What it prints comes over a stream of its own, maybe after the answer.
  await until(() => log.some((line) => line.startsWith('info adding 1')))
  t.match(await add.response({ a: 1, b: 5 }), { sum: 6 })
  t.match(await add.response('{"a":NaN}'), { sum: null }, 'NaN comes in, null goes out')
  for (const [body, code, detail] of [
    [{}, 'ERR_ARGUMENT_INVALID', /^missing: "a"$/],
    ['', 'ERR_ARGUMENT_INVALID', /^missing: "a"$/],
    [{ b: 1, c: 2, d: 3 }, 'ERR_ARGUMENT_INVALID', /missing: "a"; unknown: "c", "d".*"a", "b"/],
    ['[1]', 'ERR_BODY_INVALID', /must be a JSON object/],
    ['{"a":1', 'ERR_BODY_INVALID', /not JSON/],
    ['{"a":1} {"a":2}', 'ERR_BODY_INVALID', /not JSON/],
    ['\ufeff{"a":1}', 'ERR_BODY_INVALID', /not JSON/],
    [Buffer.from([0x7b, 0xff]), 'ERR_BODY_INVALID', /not valid UTF-8/],
    [`{"a":${'['.repeat(70)}${']'.repeat(70)}}`, 'ERR_BODY_INVALID', /over 64 levels/],
    ['['.repeat(1_000_000), 'ERR_BODY_INVALID', /over 64 levels/],
    [{ a: 'x' }, 'ERR_CODE_RAISED', /^TypeError: /],
  ] as const) {
    t.match(await add.ask(body), { code, detail })
  }
  const wide = JSON.stringify({ a: 1, b: 1, c: Array.from({ length: 200 }, () => [1]) })
  t.match(await add.ask(wide), { code: 'ERR_ARGUMENT_INVALID' }, 'wide is not deep')
})

t.test('GET, any names, no arguments, async', { skip }, async (t) => {
  const { open } = await pythonPlace(t, FILES)
  const everything = await open(plan('everything'))
  const got = await everything.get('a=1&b=x%20y&a=2&c=&%C3%A9=%E2%82%AC')
  t.strictSame(got.answer?.['response'], { a: ['1', '2'], b: 'x y', c: '', é: '€' })
  t.match(await everything.get('a=%ff'), { code: 'ERR_ARGUMENT_INVALID', detail: /UTF-8/ })
  t.match(await everything.get('a=1&'.repeat(1_100)), { code: 'ERR_ARGUMENT_INVALID' })
  t.strictSame(await everything.response({ any: [1, { b: null }] }), { any: [1, { b: null }] })
  const closed = await open(plan('everything', { get: false }))
  t.strictSame((await closed.get('a=1')).answer?.['response'], {}, 'a query counts only for GET')
  t.equal(await (await open(plan('nothing'))).response(''), null)
  t.strictSame(await (await open(plan('positional'))).response({ a: 1, c: 2 }), [1, 2])
  const later = await open(plan('later'))
  t.strictSame(await later.response({ n: 7 }), [7, 1])
  t.strictSame(await later.response({ n: 8 }), [8, 1], 'one loop for all calls')
  t.match(await (await open(plan('later_fails'))).ask({}), { detail: "KeyError: 'k'" })
  const [text, isFile, files, doubled] = (await (
    await open(plan('where'))
  ).response('')) as unknown[]
  t.strictSame([text, isFile, doubled], ['A', true, 8])
  t.strictSame(files, ['data', 'new.txt', 'src'], 'its folder shows the bundle')
})

t.test('values of the library', { skip }, async (t) => {
  const { open } = await pythonPlace(t, FILES)
  const values = await open(plan('values'))
  const is = async (kind: string, wanted: unknown) =>
    t.strictSame(await values.response({ kind }), wanted, kind)
  await is('floats', [null, null, null, 1e300, 0.1])
  await is('times', ['2020-01-02', '2020-01-02T03:04:05'])
  await is('decimals', [1.5, 7, null])
  await is('sets', [5])
  await is('tuples', [1, [2]])
  await is('enums', 'red')
  await is('keys', { null: 3, '1': 4, '1.5': 5, '2020-01-02': 6 })
  await is('big', 2 ** 70)
  await is('half', '\udcff')
  const refused = async (kind: string, detail: RegExp) =>
    t.match(await values.ask({ kind }), { code: 'ERR_ANSWER_INVALID', detail }, kind)
  await refused('bytes', /^response is of type bytes/)
  await refused('object', /^response\[1\]\["a"\] is of type object/)
  await refused('generator', /^response is of type generator/)
  const loops = await open(plan('loops'))
  t.match(await loops.ask({}), { code: 'ERR_ANSWER_INVALID', detail: /nested/ })
  const floats = await open(plan('floats'))
  const many = await floats.response({ n: 1_000_000 })
  t.equal(Array.isArray(many) && many[999_999], 999_999 / 7)
  const big = await open(plan('big'))
  t.equal(String(await big.response({ mb: 20 })).length, 20 << 20)
  t.match(await big.ask({ mb: 70 }), { code: 'ERR_ANSWER_INVALID', detail: /at most \d+ are/ })
  t.equal(String(await big.response({ mb: 1 })).length, 1 << 20, 'and it lives')
})

t.test('numpy and pandas', { skip: withPandas }, async (t) => {
  const code = `
import numpy as np, pandas as pd
def f(kind):
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "t": pd.to_datetime(["2020-01-02", None])})
    return {
        "scalars": [np.float64(1.5), np.float32(0.5), np.int64(3), np.bool_(True),
                    np.float64("nan")],
        "arrays": {"a": np.arange(4).reshape(2, 2), "nan": np.array([1.0, np.nan])},
        "frame": frame, "series": frame["a"], "index": frame.index, "time": frame["t"][0],
        "none": [pd.NA, pd.NaT, np.datetime64("NaT")], "day": np.datetime64("2020-01-02"),
        "keys": {np.int64(1): np.array(["a", "b"])}, "text": np.str_("s"),
        "nullable": pd.array([1, None], dtype="Int64"), "category": pd.Categorical(["a", "b"]),
        "days": np.array(["2020-01-02"], dtype="datetime64[D]"), "complex": np.complex128(1),
    }[kind]
`
  const { open } = await pythonPlace(t, { 'code.py': code })
  const values = await open(functionPlan())
  for (const [kind, wanted] of Object.entries({
    scalars: [1.5, 0.5, 3, true, null],
    arrays: {
      a: [
        [0, 1],
        [2, 3],
      ],
      nan: [1, null],
    },
    frame: [
      { a: 1, b: 'x', t: '2020-01-02T00:00:00' },
      { a: 2, b: null, t: null },
    ],
    series: [1, 2],
    index: [0, 1],
    time: '2020-01-02T00:00:00',
    none: [null, null, null],
    day: '2020-01-02',
    keys: { '1': ['a', 'b'] },
    text: 's',
    nullable: [1, null],
    category: ['a', 'b'],
    days: ['2020-01-02'],
  })) {
    t.strictSame(await values.response({ kind }), wanted, kind)
  }
  t.match(await values.ask({ kind: 'complex' }), {
    detail: /response is of type numpy\.complex128/,
  })
})

t.test('what the code raises', { skip }, async (t) => {
  const { open, log } = await pythonPlace(t, FILES)
  const fails = await open(plan('fails'))
  const first = fails.runtime.program
  for (const [kind, detail] of [
    ['value', "ValueError: no such file: … or '… z' at http://h/a/b"],
    ['surrogate', 'ValueError: bad \udcff text'],
    ['unprintable', 'Odd: <the message of the error cannot be made: RuntimeError>'],
    ['exit', 'SystemExit: 3'],
    ['system', 'SystemExit: 0'],
    ['interrupt', 'KeyboardInterrupt'],
    ['memory', /^(MemoryError|OverflowError)/],
    ['deep', /^RecursionError: maximum recursion depth exceeded/],
  ] as const) {
    t.match(await fails.ask({ kind }), { code: 'ERR_CODE_RAISED', detail }, kind)
  }
  const long = await fails.ask({ kind: 'long' })
  t.equal(long.detail?.length, 500)
  t.match(await fails.ask({ kind: 'custom' }), { httpStatus: 429, detail: 'come back later' })
  t.match(await fails.ask({ kind: 'odd' }), { httpStatus: 500, detail: 'odd' })
  t.equal(fails.runtime.program, first)
  t.ok(
    log.some((line) => line.includes('/srv/secret/models/a.pkl')),
    'the log has all of it',
  )
  t.ok(
    log.some((line) => /code\.py", line \d+, in fails/.test(line)),
    'and the traceback',
  )
  t.notOk(
    log.some((line) => line.includes('its process ended')),
    'no child was lost',
  )
})

t.test('texts for callers name no path', async (t) => {
  t.equal(shown('at /a/b/c.py x'), 'at … x')
  t.equal(shown('open:/etc/x/y'), 'open:…')
  t.equal(shown('1/2, a/b/c, http://h/x/y'), '1/2, a/b/c, http://h/x/y')
})

t.test('custom HTTP answers, metadata, variables', { skip }, async (t) => {
  const code = `
import os
from dataiku.apinode import DkuCustomHttpResponse
def f(kind):
    if kind == "text":
        r = DkuCustomHttpResponse.create_text_response("é", content_type="text/xml")
        r.headers["X-One"] = "1"; r.headers["X-One"] = "2"
        r.add_header("Set-Cookie", "a"); r.add_header("Set-Cookie", "b")
        return r
    if kind == "json": return DkuCustomHttpResponse.create_json_response({"a": float("nan")})
    if kind == "binary":
        data = b"\\x00\\xff"
        return DkuCustomHttpResponse.create_binary_response(data, content_type="image/png")
    if kind == "own": return DkuCustomHttpResponse(201, "made", {"Location": "/x"})
    if kind == "split": return DkuCustomHttpResponse(200, "", {"X": "a\\r\\nSet-Cookie: b"})
    if kind == "status": return DkuCustomHttpResponse(99, "", {})
    if kind == "body": return DkuCustomHttpResponse(200, {"a": 1}, {})
    return "plain"
def meta():
    m = dku_http_request_metadata
    h = m.headers
    return [m.path, h.get("Authorization"), h.get_all("x-two"), os.environ.get("MINE")]
`
  const { open } = await pythonPlace(t, { 'code.py': code })
  const raw = await open(functionPlan({ rawResponse: true }))
  const text = await raw.ask({ kind: 'text' })
  t.match(text, { status: 'raw', httpStatus: 200, text: 'Ã©' })
  t.strictSame(text.headers, [
    ['Content-Type', 'text/xml'],
    ['X-One', '2'],
    ['Set-Cookie', 'a'],
    ['Set-Cookie', 'b'],
  ])
  t.match(await raw.ask({ kind: 'json' }), { text: '{"a":null}' })
  t.match(await raw.ask({ kind: 'binary' }), { text: '\x00\xff' })
  t.match(await raw.ask({ kind: 'own' }), { httpStatus: 201, headers: [['Location', '/x']] })
  t.equal(await raw.response({ kind: 'none' }), 'plain')
  for (const kind of ['split', 'status', 'body']) {
    t.match(await raw.ask({ kind }), { code: 'ERR_ANSWER_INVALID' }, kind)
  }
  const plain = await open(functionPlan())
  t.match(await plain.ask({ kind: 'own' }), { detail: /needs "rawResponse": true/ })
  const facts = {
    path: '/public/api/v1/svc/ep/run',
    headers: [
      ['authorization', 'Bearer k'],
      ['x-two', 'a'],
      ['x-two', 'b'],
    ],
  } as const
  const variables = { MINE: 'v' }
  const meta = await open(functionPlan({ name: 'meta', requestMetadata: true, variables }))
  const seen = await meta.ask('', facts)
  t.strictSame(seen.answer?.['response'], [facts.path, 'Bearer k', ['a', 'b'], 'v'])
  const blind = await open(functionPlan({ name: 'meta' }))
  t.match(await blind.ask('', facts), { detail: /needs "requestMetadata": true/ })
})

t.test('asking another endpoint of the service', { skip }, async (t) => {
  const seen: { url: string | undefined; key: string | undefined; body: string }[] = []
  const node = createServer(async (request, reply) => {
    let body = ''
    for await (const chunk of request) body += chunk
    seen.push({ url: request.url, key: request.headers.authorization, body })
    reply.statusCode = request.url?.endsWith('/lost/predict') ? 404 : 200
    reply.end(JSON.stringify({ response: 5, detailedMessage: 'no such endpoint' }))
  }).listen(0, '127.0.0.1')
  t.teardown(() => node.close())
  await once(node, 'listening')
  const address = node.address()
  const port = typeof address === 'object' ? address?.port : 0
  const code = `
from dataiku.apinode import utils
def f(kind):
    client = utils.get_self_client()
    if kind == "run": return client.run_function("other one", a=[1])["response"]
    return client.predict_record("lost", {"x": 1})
`
  const { open } = await pythonPlace(t, { 'code.py': code })
  const variables = { SWITCHYARD_URL: `http://127.0.0.1:${port}/` }
  const asking = await open(functionPlan({ variables, requestMetadata: true }))
  const headers = [['authorization', `Basic ${btoa('caller:')}`]] as const
  const told = await asking.ask({ kind: 'run' }, { headers })
  t.equal(told.answer?.['response'], 5)
  t.match(await asking.ask({ kind: 'lost' }), { detail: /^ApiNodeError: no such endpoint$/ })
  const keyed = await open(functionPlan({ variables: { ...variables, SWITCHYARD_API_KEY: 'own' } }))
  await keyed.ask({ kind: 'run' }, { headers })
  t.strictSame(seen, [
    {
      url: '/public/api/v1/svc/other%20one/run',
      key: `Basic ${btoa('caller:')}`,
      body: '{"a": [1]}',
    },
    { url: '/public/api/v1/svc/lost/predict', key: undefined, body: '{"features": {"x": 1}}' },
    { url: '/public/api/v1/svc/other%20one/run', key: `Basic ${btoa('own:')}`, body: '{"a": [1]}' },
  ])
  const lost = await open(functionPlan())
  t.match(await lost.ask({ kind: 'run' }), {
    detail: /address of the node in the variable SWITCHYARD_URL/,
  })
})
