/**
 * Goal: tables stay tables whatever a node answers, stdout holds one answer, and a terminal is not
 * driven by what somebody wrote into a label.
 * Method: the functions on small tables and on names with control characters.
 */

import t from 'tap'
import {
  bytesText,
  listText,
  Output,
  shown,
  tableText,
  timeText,
} from '../../../admin/cli/output.ts'
import { answerText } from '../../../admin/cli/predictions.ts'
import { Progress } from '../../../admin/cli/progress.ts'
import { refusalOf } from '../../../admin/cli/refusals.ts'

t.test('columns end below each other, and nothing breaks a line', async (t) => {
  const rows = [
    { name: 'wine', count: 3, on: true },
    { name: 'ca\u001b[31mn\ncer', count: 12_000, on: false },
    { name: 'größe', count: null, on: undefined },
  ]
  const text = tableText(rows, [
    { head: 'NAME', cell: ({ name }) => name },
    { head: 'COUNT', cell: ({ count }) => count, right: true },
    { head: 'ON', cell: ({ on }) => on },
  ])
  t.same(text.split('\n'), [
    'NAME          COUNT  ON',
    'wine              3  yes',
    'ca [31mn cer  12000  no',
    'größe',
  ])
  t.equal(tableText([], [{ head: 'NAME', cell: () => '' }]), 'NAME')
})

t.test('lists leave out what is not known', async (t) => {
  t.equal(
    listText([
      ['a', 1],
      ['long', 'x\ty'],
      ['none', null],
      ['empty', ''],
    ]),
    'a     1\nlong  x y',
  )
  t.equal(shown({ a: [1] }), '{"a":[1]}')
  t.same([0, 999, 1_000, 12_345_678].map(bytesText), ['0 bytes', '999 bytes', '1.0 kB', '12.3 MB'])
  t.equal(timeText(Date.UTC(2030, 0, 31, 12)), '2030-01-31 12:00:00')
  t.same([timeText(null), bytesText(undefined)], ['', ''])
})

t.test('an answer goes to stdout, all else to stderr', async (t) => {
  const said: string[] = []
  const world = {
    out: (text: string) => void said.push(`out ${text}`),
    err: (text: string) => void said.push(`err ${text}`),
  }
  new Output(world, false).answer({ a: 1 }, () => 'people')
  const json = new Output(world, true)
  t.equal(json.hasAnswered, false)
  json.answer({ a: 1 }, () => 'people')
  t.equal(json.hasAnswered, true)
  json.say('the line\u0007', ['one', 'two'])
  t.same(said, [
    'out people\n',
    'out {\n  "a": 1\n}\n',
    'err switchyard: the line \n  one\n  two\n',
  ])
})

t.test(
  'a progress bar keeps to the width of the terminal, and is nothing without one',
  async (t) => {
    let text = ''
    const err = (part: string): void => {
      text += part
    }
    const narrow = new Progress({ err, columns: 20 })
    narrow.show('uploading', 50, 100)
    narrow.show('uploading', 50, 100)
    narrow.end()
    t.equal(text, '\r\u001b[Kuploading [########\r\u001b[K', 'drawn once, and gone')
    text = ''
    const wide = new Progress({ err, columns: 80 })
    wide.show('uploading', 300, 100)
    t.match(text, /uploading \[#{24}\] 100 %$/)
    text = ''
    const none = new Progress({ err, columns: null })
    none.show('uploading', 1, 2)
    none.end()
    t.equal(text, '')
  },
)

t.test('faults are counted in the line and listed once', async (t) => {
  const faults = [
    { path: 'endpoints[0].id', reason: 'id is missing' },
    { path: 'authorization', reason: 'authorization must be "PUBLIC"' },
  ]
  const body = { message: 'the bundle is not valid', detailedMessage: 'long', faults }
  const many = refusalOf({ status: 400, body }, { api: 'admin' })
  t.equal(many.message, 'the bundle is not valid: 2 faults')
  t.same(many.faults, faults)
  const one = refusalOf(
    { status: 400, body: { ...body, faults: faults.slice(1) } },
    { api: 'admin' },
  )
  t.equal(one.message, 'long')
  const page = refusalOf({ status: 502, body: '<html>\nBad Gateway' }, { api: 'query' })
  t.equal(page.message, 'query API: the answer is 502: <html>\nBad Gateway')
})

t.test('a refused key is told where keys come from', async (t) => {
  const body = { message: 'an API key is required', code: 'ERR_AUTH_MISSING' }
  const { message } = refusalOf({ status: 401, body }, { api: 'admin' })
  t.match(message, 'required (the admin key comes from --key-file, SWITCHYARD_CLI_KEY')
  const query = refusalOf({ status: 401, body }, { api: 'query' })
  t.match(query.message, '--query-key-file, SWITCHYARD_CLI_QUERY_KEY')
})

t.test('answers of every kind are read by people', async (t) => {
  const context = { apiContext: { serviceGeneration: 'v1' }, timing: { wait: 0.5, execution: 1 } }
  const foot = '\n\ngeneration v1, 1.5 ms'
  t.equal(
    answerText({
      result: { prediction: 'a', probas: { a: 0.9, b: 0.1 }, ignored: false },
      ...context,
    }),
    `prediction  a\nprobas      a 0.9, b 0.1${foot}`,
  )
  t.equal(
    answerText({
      results: [{ prediction: 1 }, { ignored: true, error: { code: 'E' } }],
      ...context,
    }),
    `PREDICTION  IGNORED  ERROR\n1\n            true     code E${foot}`,
  )
  t.equal(answerText({ response: 'text', ...context }), `text${foot}`)
  t.equal(answerText({ response: { price: 1 }, ...context }), `{\n  "price": 1\n}${foot}`)
  const columns = [{ name: 'id' }, { name: 'total' }]
  t.equal(
    answerText({
      columns,
      rows: [
        ['1', null],
        ['20', '3.5'],
      ],
      ...context,
    }),
    `id  total\n1\n20  3.5${foot}`,
  )
  t.equal(answerText({ updatedRows: 3, ...context }), `updated rows  3${foot}`)
  t.equal(
    answerText({ results: [{ data: { region: 'west' } }], ...context }),
    `region  west${foot}`,
  )
})
