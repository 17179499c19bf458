/**
 * Goal: predictions of models in R have the form of every other prediction, rows fail alone, and
 * only R children get a connection.
 * Method: a linear and a logistic model that R itself has saved into the bundle; the answers are
 * held against R's own; strangers connect to the port that children are expected on.
 */

import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Listener } from '../../../workers/r/listener.ts'
import { feature } from '../../tools/plans.ts'
import { type Asked, customPrediction, rEndpoint } from '../../tools/r-endpoints.ts'
import { runtimes } from '../../tools/runtimes.ts'

const { rscript } = runtimes(t)
const skip = rscript === null ? 'there is no Rscript' : false

const REGRESSION = `
model <- readRDS("models/cars.rds")
score <- function(wt, hp = 100) {
  if (is.na(wt)) return(NULL)
  if (wt < 0) stop("a car weighs something")
  if (wt > 100) return(list(prediction = NA))
  value <- predict(model, data.frame(wt = wt, hp = hp))
  if (wt > 5) list(prediction = value, customKeys = list(heavy = TRUE), note = "big") else value
}
`

const CLASSES = `
score <- function(how, p = 0.25) switch(how,
  bare = "yes", factor = factor("no", levels = c("yes", "no")), list = list(prediction = "yes"),
  named = list(prediction = "yes", probas = list(yes = p, no = 1 - p)),
  vector = list(prediction = "yes", probas = c(no = 1 - p, yes = p)),
  order = list(prediction = "no", probas = c(1 - p, p)),
  matrix = list(probas = matrix(c(p, 1 - p), 1, dimnames = list("1", c("yes", "no")))),
  short = list(prediction = "yes", probas = c(0.5)), other = "maybe", two = c("yes", "no"),
  fn = list(prediction = mean), nothing = list(x = 1), number = 1, null = NULL,
  text = list(prediction = "yes", probas = list(yes = "a")),
  integer = list(prediction = "yes", probas = c(yes = 1L, no = NA)),
  unknown = list(prediction = "yes", probas = c(yes = NA, no = NA)))
`

/** Makes the model where the bundle will be, and says what R itself predicts. */
function saveModel(directory: string): string {
  mkdirSync(join(directory, 'models'), { recursive: true })
  const code = `m <- lm(mpg ~ wt + hp, mtcars); saveRDS(m, "models/cars.rds")
    cat(format(predict(m, data.frame(wt = c(2, 6), hp = c(100, 150))), digits = 17))`
  const run = spawnSync(rscript ?? '', ['-e', code], { cwd: directory, encoding: 'utf8' })
  return run.stdout
}

const results = (answer: Asked | undefined): unknown => answer?.['results'] ?? answer?.['result']

t.test('a linear model that R has saved', { skip }, async (t) => {
  let expected: number[] = []
  const { ask, askAll } = await rEndpoint(t, {
    files: { 'score.R': REGRESSION },
    prediction: customPrediction({ kind: 'REGRESSION' }),
    before: (directory) => {
      expected = saveModel(directory).trim().split(/\s+/).map(Number)
    },
  })
  const one = async (features: unknown): Promise<unknown> => results(await ask({ features }))
  const close = (value: unknown, to: number | undefined): boolean =>
    typeof value === 'object' &&
    value !== null &&
    'prediction' in value &&
    Math.abs(Number(value.prediction) - Number(to)) < 1e-12
  t.ok(close(await one({ wt: 2 }), expected[0]), 'a default')
  const heavy = await one({ wt: 6, hp: 150 })
  t.ok(close(heavy, expected[1]))
  t.match(heavy, { customKeys: { note: 'big', heavy: true }, ignored: false })
  t.match(await one({ wt: null }), { ignored: true, ignoreReason: 'IGNORED_BY_MODEL' })
  t.match(await one({ wt: 101 }), { ignored: true })
  const raised = { code: 'ERR_CODE_RAISED', detail: 'a car weighs something' }
  t.match(await ask({ features: { wt: -1 } }), raised)
  const unknown = await ask({ features: { weight: 1 } })
  t.match(unknown, { code: 'ERR_FEATURE_INVALID', detail: /unknown: "weight"; missing: "wt"/ })
  const items = [{ wt: 2 }, { wt: -1 }, {}, { wt: 6, hp: 150 }].map((features) => ({ features }))
  const [multi] = await askAll([JSON.stringify({ items })], { verb: 'multi' })
  const rows = results(multi)
  t.ok(Array.isArray(rows) && rows.length === 4)
  if (!Array.isArray(rows)) return
  t.ok(close(rows[0], expected[0]) && close(rows[3], expected[1]))
  t.match(rows[1], {
    ignored: true,
    ignoreReason: 'IGNORED_BY_MODEL',
    error: { code: raised.code },
  })
  t.match(rows[2], { ignored: true, ignoreReason: 'INVALID_FEATURE' })
  const bodies = [2, -1, 6].map((wt) =>
    JSON.stringify({ features: { wt, hp: wt === 6 ? 150 : 100 } }),
  )
  const gathered = await askAll([...bodies, '{"features":'])
  t.ok(close(results(gathered[0]), expected[0]) && close(results(gathered[2]), expected[1]))
  t.match(gathered[1], raised)
  t.match(gathered[3], { code: 'ERR_BODY_INVALID' })
  t.match(gathered[0], { timing: { wait: 0, preparation: Number, prediction: Number } })
})

const both = { prediction: 'yes', probas: { yes: 0.25, no: 0.75 }, ignored: false }

t.test('classes and probabilities', { skip }, async (t) => {
  const prediction = customPrediction({ kind: 'BINARY_CLASSIFICATION', classes: ['yes', 'no'] })
  const { ask } = await rEndpoint(t, { files: { 'score.R': CLASSES }, prediction })
  const say = async (how: string): Promise<Asked> => ask({ features: { how } })
  t.strictSame(results(await say('bare')), { prediction: 'yes', ignored: false })
  t.strictSame(results(await say('factor')), { prediction: 'no', ignored: false })
  t.strictSame(results(await say('list')), { prediction: 'yes', ignored: false })
  t.strictSame(results(await say('named')), both)
  t.strictSame(results(await say('vector')), both)
  t.strictSame(results(await say('order')), {
    prediction: 'no',
    probas: { yes: 0.75, no: 0.25 },
    ignored: false,
  })
  t.strictSame(results(await say('matrix')), { ...both, prediction: 'no' }, 'the likeliest')
  t.match(results(await say('null')), { ignored: true })
  for (const [how, probas] of Object.entries({
    integer: { yes: 1, no: null },
    unknown: { yes: null, no: null },
  })) {
    t.strictSame(results(await say(how)), { prediction: 'yes', probas, ignored: false }, 'NA')
  }
  const wrong = { short: /1 probabilities/, other: /none of the classes/, two: /has 2 values/ }
  const bad = {
    ...wrong,
    fn: /prediction is a function/,
    nothing: /no "prediction"/,
    text: /no number/,
  }
  for (const [how, detail] of Object.entries(bad)) {
    t.match(await say(how), { code: 'ERR_ANSWER_INVALID', detail }, how)
  }
  const strict = await rEndpoint(t, {
    files: { 'score.R': CLASSES },
    prediction: {
      ...prediction,
      threshold: 0.7,
      features: [
        feature('how', { type: 'string' }),
        feature('p', { onMissing: 'IMPUTE', value: 0.1, onInvalid: 'IGNORE' }),
      ],
    },
  })
  const ruled = async (features: object): Promise<Asked> => strict.ask({ features })
  t.match(results(await ruled({ how: 'vector', extra: 1 })), {
    prediction: 'no',
    probas: { yes: 0.1 },
  })
  t.match(results(await ruled({ how: 'vector', p: '0.5' })), { prediction: 'yes' })
  t.match(results(await ruled({ how: 'vector', p: 'x' })), { ignored: true, ignoreDetail: /"p"/ })
  t.match(await ruled({}), { code: 'ERR_FEATURE_INVALID', detail: 'feature "how" is missing' })
})

function dial(t: Test, port: number, text: string): Socket {
  const socket = connect(port, '127.0.0.1', () => socket.write(text))
  socket.on('error', () => {})
  // Its end is seen only by who reads.
  socket.resume()
  t.teardown(() => socket.destroy())
  return socket
}

t.test('only who has the token of a child is let in, once', async (t) => {
  const listener = await Listener.open()
  t.teardown(() => listener.close())
  const { port } = listener
  const { token, socket } = listener.expect()
  const closed = (one: Socket): Promise<unknown> =>
    new Promise((resolve) => one.once('close', resolve))
  await closed(dial(t, port, `${'0'.repeat(64)}\n`))
  await closed(dial(t, port, `GET / HTTP/1.1\r\nHost: ${'x'.repeat(100)}\r\n\r\n`))
  const silent = Array.from({ length: 40 }, () => dial(t, port, token.slice(0, 10)))
  await Promise.all(silent.slice(0, 8).map(closed))
  const child = dial(t, port, token)
  child.once('connect', () => child.write('\nthe first frame'))
  const admitted = await socket
  t.equal(admitted.remotePort, child.localPort)
  t.teardown(() => admitted.destroy())
  const first: Buffer = await new Promise((resolve) => admitted.once('data', resolve))
  t.equal(String(first), 'the first frame', 'nothing behind the token is lost')
  await closed(dial(t, port, `${token}\n`))
  const forgotten = listener.expect()
  forgotten.forget()
  await closed(dial(t, port, `${forgotten.token}\n`))
})
