/**
 * Goal: no server and no process of a server outlives the benchmark, and one that does not start is
 * told with its last words. Method: real programs that listen, that leave a child behind, that were
 * stopped by a signal, and that end at once.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { startServer, stopAllServers } from '../../bench/servers.ts'

const folder = mkdtempSync(join(tmpdir(), 'switchyard-servers-'))
t.teardown(() => rmSync(folder, { recursive: true }))

function program(name: string, text: string): readonly string[] {
  const path = join(folder, name)
  writeFileSync(path, text)
  return [path]
}

function start(name: string, text: string) {
  const args = program(`${name}.cjs`, text)
  return startServer({ name, script: null, interpreter: process.execPath, args })
}

/** Listens, has a child that takes no hint, and says both pids. */
const PARENT = `
const { spawn } = require('node:child_process')
const deaf = 'process.on("SIGTERM", () => {}); setInterval(() => {}, 1e3)'
const child = spawn(process.execPath, ['-e', deaf])
const url = 'http://127.0.0.1:1/' + child.pid
console.log(JSON.stringify({ event: 'ready', url, pid: process.pid }))
setInterval(() => {}, 1e3)`

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

async function ends(pid: number): Promise<boolean> {
  for (let i = 0; i < 500 && isAlive(pid); i++) await sleep(20)
  return !isAlive(pid)
}

const childOf = (url: string) => Number(url.split('/').at(-1))

t.test('stopping a server ends what it has started', async (t) => {
  const server = await start('parent', PARENT)
  const child = childOf(server.url)
  t.ok(isAlive(server.pid) && isAlive(child))
  await server.stop()
  t.ok(await ends(server.pid), 'the server')
  t.ok(await ends(child), 'its child')
  await server.stop()
})

t.test('one that was stopped by a signal ends too', async (t) => {
  const server = await start('frozen', PARENT)
  process.kill(-server.pid, 'SIGSTOP')
  await server.stop()
  t.ok(await ends(server.pid))
})

t.test('all are ended at once, whoever holds them', async (t) => {
  const servers = [await start('one', PARENT), await start('two', PARENT)]
  await stopAllServers()
  for (const { pid, url } of servers) t.ok((await ends(pid)) && (await ends(childOf(url))))
})

t.test('one that does not start is told with its last words', async (t) => {
  const failing = start('failing', `console.error('no such model'); process.exitCode = 3`)
  await t.rejects(failing, /failing did not start: .*code 3 .*\nno such model/)
})

t.test('one that says nothing is asked until it answers', async (t) => {
  let asked = 0
  const server = await startServer({
    name: 'silent',
    script: null,
    interpreter: process.execPath,
    args: program('silent.cjs', 'setInterval(() => {}, 1e3)'),
    listens: {
      url: 'http://127.0.0.1:1',
      answers: async () => {
        asked += 1
        if (asked < 3) throw new Error('nobody listens')
        return true
      },
    },
  })
  t.equal(asked, 3)
  t.equal(server.url, 'http://127.0.0.1:1')
  await server.stop()
})
