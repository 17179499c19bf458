/**
 * Goal: functions in R get the arguments that were sent and their values come back as JSON, and
 * whatever their code does, the caller gets a clear answer in time and the endpoint lives.
 * Method: the real runtime over real Rscript processes, with code that does each of these things.
 */

import t from 'tap'
import { type Asked, rEndpoint } from '../../tools/r-endpoints.ts'
import { runtimes } from '../../tools/runtimes.ts'
import { until } from '../../tools/waiting.ts'

const skip = runtimes(t).rscript === null ? 'there is no Rscript' : false

const CODE = `
add <- function(a, b = 10) a + b
any <- function(...) names(list(...))
kind <- function(x) list(type = typeof(x), length = length(x), names = names(x), na = anyNA(x))
echo <- function(x) x
run <- function(what) switch(what,
  scalar = 1.5, int = 3L, text = "\\u00e9\\u4e2d", flag = TRUE, null = NULL, na = NA, nan = NaN,
  inf = -Inf, empty = character(), vector = c(1, NA, 3), kept = I(7), named = c(a = 1, b = 2),
  list = list(a = 1, b = list(1, "x"), 3),
  emptyList = list(), emptyObject = setNames(list(), character()),
  twice = list(a = 1, a = 2), factor = factor(c("u", NA, "v")), date = as.Date("2024-02-29"),
  time = as.POSIXct("2024-02-29 12:34:56.789", tz = "Europe/Berlin"),
  lt = list(when = as.POSIXlt("2024-02-29 12:00:00", tz = "UTC")),
  frame = data.frame(x = c(1, NA), f = factor(c("p", "q")), d = as.Date(c("2020-01-01", NA))),
  one = data.frame(x = 1), matrix = matrix(1:6, 2), table = table(c("a", "b", "a")),
  raw = as.raw(1:3), big = 2^53 + 2, row = mtcars[1, c("mpg", "cyl")],
  latin = iconv("\\u00e9", "UTF-8", "latin1"),
  array = array(1:8, c(2, 2, 2)), none = data.frame(x = integer())[0, , drop = FALSE],
  fn = list(a = 1, f = list(function(x) x)), env = list(deep = list(e = new.env())),
  model = lm(mpg ~ wt, mtcars), complex = 1i, s4 = getClass("numeric"),
  hidden = structure(1, fn = function() 1), secret = structure(5, env = new.env()))
`

const VALUES: Readonly<Record<string, unknown>> = {
  scalar: 1.5,
  int: 3,
  text: 'é中',
  flag: true,
  null: null,
  na: null,
  nan: null,
  inf: null,
  empty: [],
  vector: [1, null, 3],
  kept: [7],
  named: { a: 1, b: 2 },
  list: { a: 1, b: [1, 'x'], 3: 3 },
  emptyList: [],
  emptyObject: {},
  twice: { a: 1, 'a.1': 2 },
  factor: ['u', null, 'v'],
  date: '2024-02-29',
  time: '2024-02-29T11:34:56.789Z',
  lt: { when: '2024-02-29T12:00:00.000Z' },
  frame: [
    { x: 1, f: 'p', d: '2020-01-01' },
    { x: null, f: 'q', d: null },
  ],
  one: [{ x: 1 }],
  matrix: [
    [1, 3, 5],
    [2, 4, 6],
  ],
  table: { a: 2, b: 1 },
  raw: 'AQID',
  big: 2 ** 53 + 2,
  row: [{ mpg: 21, cyl: 6 }],
  latin: 'é',
  array: [
    [
      [1, 5],
      [3, 7],
    ],
    [
      [2, 6],
      [4, 8],
    ],
  ],
  none: [],
  secret: 5,
}

const REFUSED: Readonly<Record<string, string | RegExp>> = {
  fn: 'the answer$f[[1]] is a function',
  env: 'the answer$deep$e is an environment',
  model: /^the answer\$call is a call$|^the answer\$\S+ is a/,
  complex: 'the answer is complex',
  s4: /S4 object/,
  hidden: /a function/,
}

t.test('values come back as JSON', { skip }, async (t) => {
  const { ask, runtime } = await rEndpoint(t, { files: { 'score.R': CODE }, name: 'run' })
  t.match(runtime.program, /^R \d+\.\d+\.\d+$/)
  for (const [what, expected] of Object.entries(VALUES)) {
    t.strictSame((await ask({ what }))['response'], expected, what)
  }
  for (const [what, detail] of Object.entries(REFUSED)) {
    t.match(await ask({ what }), { code: 'ERR_ANSWER_INVALID', detail }, what)
  }
  const answer = await ask({ what: 'scalar' })
  t.match(answer, {
    timing: { wait: 0, execution: Number },
    apiContext: { serviceId: 's', endpointId: 'score', serviceGeneration: 'g1' },
  })
})

t.test('arguments go in by name', { skip }, async (t) => {
  const { ask, askAll } = await rEndpoint(t, { files: { 'score.R': CODE }, name: 'add' })
  t.equal((await ask({ a: 1 }))['response'], 11, 'defaults')
  t.equal((await ask({ b: 1, a: 2 }))['response'], 3)
  const wrong = await ask({ b: 1, c: 2, toString: 3 })
  t.match(wrong, {
    code: 'ERR_ARGUMENT_INVALID',
    detail: /^unknown: "c", "toString"; missing: "a"; the function takes "a"/,
  })
  t.match(await ask(undefined), { code: 'ERR_ARGUMENT_INVALID', detail: 'missing: "a"' })
  t.match(await ask({ a: 'x\0y' }), { code: 'ERR_ARGUMENT_INVALID', detail: /^"a" holds a NUL/ })
  t.match(await ask({ '...': 1 }), { code: 'ERR_ARGUMENT_INVALID', detail: /"\.\.\."/ })
  t.match(await ask([1]), { code: 'ERR_BODY_INVALID' })
  const [bad, good, marked] = await askAll(['{"a":', '{"a":5}', '\ufeff{"a":5}'])
  t.match(bad, { code: 'ERR_BODY_INVALID' })
  t.match(good, { response: 15 })
  t.match(marked, { code: 'ERR_BODY_INVALID', detail: /byte order mark/ })
  const facts = { method: 'GET', path: '/', query: 'a=1&b=2', headers: [] }
  const broken = { ...facts, query: 'a=%ff' }
  t.match(await ask(undefined, broken), { code: 'ERR_ARGUMENT_INVALID', detail: /valid UTF-8/ })
  t.match(await ask(undefined, facts), { code: 'ERR_CODE_RAISED', detail: /non-numeric/ })
})

const KINDS: readonly (readonly [unknown, Asked])[] = [
  [1, { type: 'double', length: 1, names: null, na: false }],
  ['a', { type: 'character', length: 1, names: null, na: false }],
  [true, { type: 'logical', length: 1, names: null, na: false }],
  [null, { type: 'NULL', length: 0, names: null, na: false }],
  [[1, 2, null], { type: 'double', length: 3, names: null, na: true }],
  [['a', null], { type: 'character', length: 2, names: null, na: true }],
  [[true, false, null], { type: 'logical', length: 3, names: null, na: true }],
  [[null], { type: 'logical', length: 1, names: null, na: true }],
  [[], { type: 'list', length: 0, names: null, na: false }],
  [[1, 'a'], { type: 'list', length: 2, names: null, na: false }],
  [
    { p: 1, q: null },
    { type: 'list', length: 2, names: ['p', 'q'], na: false },
  ],
]

t.test('JSON has the form in R that is documented', { skip }, async (t) => {
  const { ask } = await rEndpoint(t, { files: { 'score.R': CODE }, name: 'kind' })
  for (const [x, expected] of KINDS) {
    t.strictSame((await ask({ x }))['response'], expected, JSON.stringify(x))
  }
  const echo = await rEndpoint(t, { files: { 'score.R': CODE }, name: 'echo' })
  const x = { text: 'naïve 中 🎉', list: [1, 'a', null, { b: [true] }], long: 'x'.repeat(3e6) }
  const expected = { ...x, list: [1, 'a', null, { b: true }] }
  t.strictSame((await echo.ask({ x }))['response'], expected)
  const facts = { method: 'GET', path: '/', query: 'x=1&x=%C3%A9', headers: [] }
  t.strictSame((await echo.ask(undefined, facts))['response'], ['1', 'é'])
  const any = await rEndpoint(t, { files: { 'score.R': CODE }, name: 'any' })
  t.strictSame((await any.ask({ x: 1, 'a b': 2 }))['response'], ['x', 'a b'])
})

const BAD = `
cat("loading\\n")
helper <- function(x) stop("secret of ", x)
count <- 0
run <- function(what) switch(what,
  million = as.double(1:1e6) + 0.5,
  print = { print("printed"); cat("catted\\n"); message("said"); warning("warned"); 1 },
  stop = helper("/etc/passwd/x"),
  long = stop(strrep("x", 5000)),
  caught = tryCatch(stop("no"), error = function(e) "fine"),
  quit = quit(status = 3),
  loop = repeat {},
  sleep = Sys.sleep(60),
  deaf = repeat tryCatch(repeat {}, interrupt = function(e) NULL),
  state = { count <<- count + 1; count },
  pid = Sys.getpid(),
  close = closeAllConnections(),
  deep = { f <- function(n) f(n + 1); f(1) },
  huge = numeric(1e12),
  env = Sys.getenv(c("SWITCHYARD_TOKEN", "MINE", "OMP_NUM_THREADS")),
  folder = file.exists(file.path(dkuAPINodeGetResourceFolders(), "score.R")),
  wide = raw(70e6))
`

t.test('bad code gets what it deserves', { skip, timeout: 240_000 }, async (t) => {
  const { ask, logged } = await rEndpoint(t, {
    files: { 'score.R': BAD },
    name: 'run',
    timeoutMs: 3_000,
    spares: 1,
    code: { variables: { MINE: 'yes' } },
  })
  const say = async (what: string): Promise<Asked> => ask({ what })
  const value = async (what: string): Promise<unknown> => (await say(what))['response']
  const logs = (text: string) => until(() => logged.some((line) => line.includes(text)))
  await logs('loading')
  t.equal(await value('print'), 1)
  for (const text of ['printed', 'catted', 'said', 'warned']) await logs(text)
  t.match(await say('stop'), { code: 'ERR_CODE_RAISED', detail: 'secret of …' })
  // All of it, and where.
  await logs('secret of /etc/passwd/x')
  await logs('at helper("/etc/passwd/x")')
  t.equal(String((await say('long'))['detail']).length, 500)
  t.equal(await value('caught'), 'fine')
  t.match(await say('deep'), { code: 'ERR_CODE_RAISED' })
  t.match(await say('huge'), { code: 'ERR_CODE_RAISED', detail: /cannot allocate/ })
  t.strictSame(await value('env'), { SWITCHYARD_TOKEN: '', MINE: 'yes', OMP_NUM_THREADS: '1' })
  t.equal(await value('folder'), true)
  t.equal(await value('state'), 1)
  for (const what of ['loop', 'sleep', 'loop']) {
    let [before, after] = [0, 0]
    // On a busy machine a child may be too late to end its call, and be killed.
    for (let tries = 0; tries < 10 && after !== before + 1; tries++) {
      before = Number(await value('state'))
      t.match(await say(what), { code: 'ERR_DEADLINE' }, what)
      after = Number(await value('state'))
    }
    t.equal(after, before + 1, 'the session has lived through the interrupt')
  }
  const pid = await value('pid')
  t.match(await say('wide'), { code: 'ERR_ANSWER_INVALID', detail: /at most 67108864 are allowed/ })
  t.equal(await value('pid'), pid)
})

t.test('children that are lost are replaced', { skip, timeout: 240_000 }, async (t) => {
  const { ask, logged } = await rEndpoint(t, {
    files: { 'score.R': BAD },
    name: 'run',
    timeoutMs: 5_000,
    spares: 1,
  })
  const value = async (what: string): Promise<unknown> => (await ask({ what }))['response']
  let pid = await value('pid')
  const expected = [
    ['quit', 'ERR_CHILD_LOST'],
    ['deaf', 'ERR_DEADLINE'],
    ['close', 'ERR_CHILD_LOST'],
  ]
  for (const [what, code] of expected) {
    t.match(await ask({ what }), { code }, String(what))
    const next = await value('pid')
    t.type(next, 'number')
    t.not(next, pid)
    pid = next
  }
  t.ok(logged.length > 0)
})

t.test('deadlines that meet answers mix nothing up', { skip }, async (t) => {
  const files = { 'score.R': 'score <- function(n, s) { cat("ran", n, "\\n"); Sys.sleep(s); n }' }
  const warmUp = ['{"n":1000,"s":0}']
  const { ask, logged } = await rEndpoint(t, { files, timeoutMs: 60, warmUp, spares: 1 })
  // A child has run before it is called; its words may come a moment after its answer.
  await until(() => logged.some((line) => line.startsWith('ran 1000')))
  let late = 0
  let s = 0.05
  // As long as it takes to be late about every second time, on whatever machine.
  for (let n = 0; n < 60; n++) {
    const answer = await ask({ n, s })
    if (answer['code'] === undefined) t.equal(answer['response'], n)
    else t.match(answer['code'], /^ERR_(DEADLINE|CHILD_LOST)$/)
    if (answer['code'] !== undefined) late += 1
    s *= answer['code'] === undefined ? 1.1 : 0.9
  }
  t.ok(late > 5 && late < 60, `${late} of 60 were late`)
})

t.test('a million doubles', { skip }, async (t) => {
  const { ask } = await rEndpoint(t, { files: { 'score.R': BAD }, name: 'run' })
  const { response } = await ask({ what: 'million' })
  t.ok(Array.isArray(response) && response.length === 1e6 && response[999_999] === 1e6 + 0.5)
})

const REFUSED_CODE: readonly (readonly [string, RegExp])[] = [
  ['f <- function(', /score\.R: .*(unexpected|parse)/s],
  ['f <- function(x) x', /score\.R defines no function "score"/],
  ['score <- 5', /defines no function "score"/],
  ['library(thereIsNoSuchPackage)', /there is no package called/],
  ['quit(status = 4)', /code 4/],
]

t.test('code that does not load is refused with the reason', { skip }, async (t) => {
  for (const [code, detail] of REFUSED_CODE) {
    const refused = rEndpoint(t, { files: { 'score.R': code } })
    await t.rejects(refused, { code: 'ERR_CODE_REFUSED', message: detail }, code)
  }
  const missing = rEndpoint(t, { files: { 'score.R': '' }, settings: { rscript: null } })
  await t.rejects(missing, {
    code: 'ERR_INTERPRETER_MISSING',
    message: /apt-get install r-base-core.*--rscript/,
  })
})
