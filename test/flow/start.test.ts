/**
 * Goal: the first minute of a newcomer. Method: the built program on an empty data directory, its
 * demo service, and the very command that it prints, run by a shell.
 */

import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { compiled, ROOT } from '../../bench/paths.ts'
import { Client, demoBundle } from '../tools/client.ts'
import { readyLine, remaining, startNode, startProcess } from '../tools/node.ts'
import { until } from '../tools/waiting.ts'

/** The command of the log line that shows a prediction of the demo service. */
function printedCurl(log: string): string {
  const lines = log.split('\n').filter((line) => line.startsWith('{'))
  const said = lines.map((line) => JSON.parse(line)).find(({ command }) => command !== undefined)
  return said?.command ?? ''
}

t.test('a fresh node serves its demo, and the printed curl answers', async (t) => {
  const user = t.testdir({})
  const node = await startNode(t, {
    args: ['--demo'],
    env: { HOME: user, SWITCHYARD_PROT: '1' },
  })
  // Said after the ready line, and on another stream.
  await until(() => printedCurl(node.log()) !== '')
  const command = printedCurl(node.log())
  t.match(command, /^curl /)
  const answer = JSON.parse(
    execFileSync('bash', ['-c', `${command} --silent --fail`], {
      encoding: 'utf8',
    }),
  )
  t.match(answer.result, { prediction: 'malignant', ignored: false })
  t.match(answer.apiContext, { serviceId: 'cancer', serviceGeneration: 'v1' })
  const health = await new Client(node).admin('GET', '/health')
  t.equal(health.body.status, 'HEALTHY')
  const second = await fetch(`${node.url}/isAlive/`)
  t.equal(second.status, 200)
  t.match(node.log(), /"variable":"SWITCHYARD_PROT".*no setting has this name/)
  t.equal(await node.stop(), 0)
  t.same(readdirSync(user), [], 'nothing is kept outside the data directory')
})

t.test('what cannot be started says so and ends', async (t) => {
  const nowhere = startProcess(t, { env: { SWITCHYARD_HOME: '/proc/switchyard' } })
  t.equal(await nowhere.ended, 1)
  t.match(nowhere.log(), /^switchyard: .*\/proc\/switchyard.*--home\n$/)
  const typo = startProcess(t, { args: ['bakup', 'there'] })
  t.equal(await typo.ended, 2)
  t.match(typo.log(), /^switchyard: unknown command 'bakup' \(Did you mean backup\?\)/)
})

t.test('a restart serves what was active, without another import', async (t) => {
  const first = await startNode(t)
  await new Client(first).deploy('iris', 'v1', demoBundle('iris-v1.zip'))
  t.equal(await first.stop(), 0)
  const again = await startNode(t, {
    home: first.home,
    env: {
      SWITCHYARD_ADMIN_KEY: first.adminKey,
    },
  })
  const services = await new Client({ ...again, adminKey: first.adminKey }).admin(
    'GET',
    '/services',
  )
  t.match(services.body, [{ serviceId: 'iris', activeGeneration: 'v1', enabled: true }])
  const health = await new Client(again).admin('GET', '/health')
  t.equal(health.body.status, 'HEALTHY')
})

t.test(
  'a model that is missing at a restart: callers get the cause, an import repairs',
  async (t) => {
    const first = await startNode(t)
    await new Client(first).deploy('cancer', 'v1', demoBundle('cancer-v1.zip'))
    t.equal(await first.stop(), 0)
    rmSync(join(first.home, 'generations/cancer/v1/model.onnx'), { force: true })
    const env = { SWITCHYARD_ADMIN_KEY: first.adminKey }
    const client = new Client({
      ...(await startNode(t, { home: first.home, env })),
      adminKey: first.adminKey,
    })
    const { body } = JSON.parse(readFileSync(join(ROOT, 'bench/demo/demo.json'), 'utf8'))
    const broken = await client.query('cancer/predict/predict', body)
    t.match(broken, { status: 503, body: { code: 'ERR_POOL_DOWN' } })
    t.match(broken.body.detailedMessage, /model\.onnx is missing on disk; import the bundle again/)
    await client.deploy('cancer', 'v1', demoBundle('cancer-v1.zip'))
    t.equal((await client.query('cancer/predict/predict', body)).status, 200)
  },
)

const SCRIPT = '/usr/bin/script'
const noTerminal = process.platform === 'linux' && existsSync(SCRIPT) ? false : 'no script(1) here'

t.test('a terminal that is closed ends the node in order', { skip: noTerminal }, async (t) => {
  const program = `exec '${process.execPath}' '${compiled('core/main.ts')}'`
  const started = startProcess(t, {}, [SCRIPT, '-qec', program, '/dev/null'])
  await readyLine(started)
  t.ok(started.processes().length >= 3, 'script, control, serve')
  t.ok(readdirSync(started.home).includes('lock'))
  started.child.kill('SIGKILL')
  await started.ended
  t.same(await remaining(started), [], 'nobody is left')
  t.notOk(readdirSync(started.home).includes('lock'), 'control stopped in order')
})
