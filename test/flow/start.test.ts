/**
 * Goal: the first minute of a newcomer. Method: the built program on an empty data directory, its
 * demo service, and the very command that it prints, run by a shell.
 */

import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Client, demoBundle } from '../tools/client.ts'
import { readyLine, remaining, startNode, startProcess } from '../tools/node.ts'
import { compiled } from '../tools/paths.ts'

/** The command of the log line that shows a prediction of the demo service. */
function printedCurl(log: string): string {
  const lines = log.split('\n').filter((line) => line.startsWith('{'))
  const said = lines.map((line) => JSON.parse(line)).find(({ command }) => command !== undefined)
  return said?.command ?? ''
}

t.test('a fresh node serves its demo, and the printed curl answers', async (t) => {
  const node = await startNode(t, { args: ['--demo'] })
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
  t.equal(await node.stop(), 0)
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

const SCRIPT = '/usr/bin/script'
const noTerminal = process.platform === 'linux' && existsSync(SCRIPT) ? false : 'no script(1) here'

t.test('a terminal that is closed ends the node in order', { skip: noTerminal }, async (t) => {
  const program = `exec '${process.execPath}' '${compiled('core/main.ts')}'`
  const started = startProcess(t, {}, [SCRIPT, '-qec', program, '/dev/null'])
  await readyLine(started)
  t.ok(started.processes().length >= 3, 'script, control, serve')
  t.ok(existsSync(join(started.home, 'lock')))
  started.child.kill('SIGKILL')
  await started.ended
  t.same(await remaining(started), [], 'nobody is left')
  t.notOk(existsSync(join(started.home, 'lock')), 'control stopped in order')
})
