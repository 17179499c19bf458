/**
 * Goal: a start never shares its port with a stranger, and does not take a killed node's last
 * moment for one. Method: processes that listen, with and without SO_REUSEPORT, some of them under
 * the name of a serving process and some under that of a control that lives.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { pickPort, whyNotFree, whyShared } from '../../admin/ports.ts'
import { ROOT } from '../../bench/paths.ts'
import { quickest } from '../tools/waiting.ts'

const HOST = '127.0.0.1'
/** Less than an orphan is waited for. */
const SOON_MS = 2_000
const onLinux = existsSync('/proc/net/tcp') ? false : 'the system does not say who listens'

const LISTEN = `
import { createServer } from 'node:net'
const server = createServer().listen(Number(process.argv[2]), '127.0.0.1', () => {
  process.stdout.write('listening')
})
process.stdin.on('end', () => setTimeout(() => process.exit(), 400)).resume()
`
/** With SO_REUSEPORT, which node:net cannot set, as the serving processes do. */
const SHARE = `
import * as uws from 'uWebSockets.js'
uws.App().listen('127.0.0.1', Number(process.argv[2]), 0, () => process.stdout.write('listening'))
process.stdin.on('end', () => process.exit()).resume()
`
/** The parent of a listener: a control, by its name, that stays until its input closes. */
const PARENT = `
import { spawn } from 'node:child_process'
const [entry, port] = process.argv.slice(2)
spawn(process.execPath, [entry, port, '--role=serve'], { stdio: ['pipe', 'inherit', 'inherit'] })
process.stdin.on('end', () => process.exit()).resume()
`

const folder = mkdtempSync(join(tmpdir(), 'switchyard-ports-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
mkdirSync(join(folder, 'core'))

function program(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

async function run(t: Test, args: readonly (string | number)[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, args.map(String), {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, NODE_PATH: '' },
  })
  t.teardown(() => void child.kill('SIGKILL'))
  await once(child.stdout ?? child, 'data')
  return child
}

t.test('U15: who else listens', { skip: onLinux }, async (t) => {
  const port = await pickPort(HOST)
  t.equal(await whyNotFree({ host: HOST, port, flag: '--port' }), null)
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  const entry = program('share.mjs', SHARE)
  const own = await run(t, [entry, port])
  const shared = () => whyShared({ port, flag: '--port' }, [own.pid ?? 0])
  t.equal(await shared(), null)
  const other = await run(t, [entry, port])
  t.equal(
    await shared(),
    `port ${port} is shared by process ${other.pid}, which gets part of all queries; see --port`,
  )
  t.equal(await whyShared({ port, flag: '--port' }, [own.pid ?? 0, other.pid ?? 0]), null)
})

t.test('a port that is held', { skip: onLinux }, async (t) => {
  const port = await pickPort(HOST)
  const wish = { host: HOST, port, flag: '--port' }
  const listen = program('listen.mjs', LISTEN)
  const stranger = await run(t, [listen, port])
  const held = async (who: RegExp) => t.match(await whyNotFree(wish), who)
  const ofStranger = new RegExp(`is in use by process ${stranger.pid};`)
  t.ok((await quickest(SOON_MS, () => held(ofStranger))) < SOON_MS, 'nobody waits for a stranger')
  stranger.kill('SIGKILL')
  await once(stranger, 'exit')

  const orphan = await run(t, [listen, port, '--role=serve'])
  const answer = whyNotFree(wish)
  orphan.stdin?.end()
  t.equal(await answer, null, 'an orphan is waited for')

  const control = await run(t, [program('core/main.js', PARENT), listen, port])
  const ms = await quickest(SOON_MS, () => held(/is in use by process/))
  t.ok(ms < SOON_MS, 'nor for the serving process of a node that lives')
  control.stdin?.end()
  await once(control, 'exit')
  t.equal(await whyNotFree(wish), null, 'but when its control is gone')
})
