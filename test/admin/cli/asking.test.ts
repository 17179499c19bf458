/**
 * Goal: nothing is deleted that somebody at a terminal has not agreed to, and no script waits for a
 * question. Method: deletes against a server that counts them, with every kind of answer; the same
 * server is wrong in other ways too, as whatever stands in front of a node may be.
 */

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createSocketServer } from 'node:net'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import t, { type Test } from 'tap'
import { askedOf } from '../../../admin/cli/asking.ts'
import type { Shell } from '../../../admin/cli/command.ts'
import { runHere, shellOf } from '../../tools/command-shell.ts'
import { temporaryDirectory } from '../../tools/control-plane.ts'

type Handler = (request: IncomingMessage, response: ServerResponse) => void

async function serverOf(t: Test, handler: Handler): Promise<string> {
  const server = createServer(handler)
  server.on('checkContinue', handler)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return urlOf(server.address())
}

function urlOf(address: unknown): string {
  if (typeof address === 'object' && address !== null && 'port' in address) {
    return `http://127.0.0.1:${address.port}`
  }
  throw new Error('it does not listen')
}

const DELETES: readonly (readonly string[])[] = [
  ['services', 'delete', 'wine'],
  ['generations', 'delete', 'wine', 'v1'],
  ['keys', 'delete', 'k'],
  ['admin-keys', 'delete', 'k'],
]

for (const words of DELETES) {
  t.test(`${words.join(' ')} is asked about`, async (t) => {
    const deleted: string[] = []
    const url = await serverOf(t, (request, response) => {
      if (request.method === 'DELETE') deleted.push(request.url ?? '')
      response.end('{"generationCount": 3}')
    })
    const asked: string[] = []
    const answering = (answer: boolean): Shell['ask'] => {
      return async (question) => {
        asked.push(question)
        return answer
      }
    }
    const run = (ask: Shell['ask'], ...more: string[]) => {
      const shell = shellOf(temporaryDirectory(t), { ask, env: { SWITCHYARD_CLI_URL: url } })
      return runHere(shell, [...words, ...more])
    }
    const no = await run(answering(false))
    t.match(no, { code: 1, stdout: '', stderr: 'switchyard: nothing was deleted\n' })
    t.equal(deleted.length, 0)
    t.match(asked[0], new RegExp(`^Delete the .*${words.at(-1)}.* \\[y/N\\] $`))
    t.match(await run(answering(true)), { code: 0, stdout: /^deleted / })
    t.equal(deleted.length, 1)
    t.match(await run(answering(false), '--yes'), { code: 0 })
    t.match(await run(null), { code: 0 }, 'a script is not asked')
    t.equal(asked.length, 2)
    t.same(deleted, [deleted[0], deleted[0], deleted[0]])
  })
}

t.test('the answer is one line, and only yes is yes', async (t) => {
  const answers = {
    'y\n': true,
    ' YES \r\n': true,
    'n\n': false,
    '\n': false,
    'yo\n': false,
    '': false,
  }
  for (const [text, wanted] of Object.entries(answers)) {
    const input = new PassThrough()
    input.end(text)
    t.equal(await askedOf(input), wanted, JSON.stringify(text))
  }
  const open = new PassThrough()
  open.write('yes\nmore')
  t.equal(await askedOf(open), true, 'the rest is not waited for')
})

t.test('what is no node is told in one line', async (t) => {
  const home = temporaryDirectory(t)
  const list = (url: string) => runHere(shellOf(home), ['services', 'list', '--url', url])
  const proxy = await serverOf(t, (_, response) => {
    response.writeHead(502).end('<html>\n<b>Bad Gateway</b>\u001b[2J')
  })
  const page = await list(proxy)
  t.match(page, { code: 1, stdout: '' })
  t.match(page.stderr, /^switchyard: admin API: the answer is 502: <html> <b>Bad Gateway<\/b>/)
  t.notMatch(page.stderr, '\u001b')
  const cut = await list(await serverOf(t, (request) => request.destroy()))
  t.match(cut, { code: 3, stderr: /cannot be asked: the connection was cut/ })
  const half = await serverOf(t, (_, response) => {
    response.writeHead(200, { 'content-length': '100' }).write('{')
    response.destroy()
  })
  t.match(await list(half), { code: 3, stdout: '' })
  t.match(await list('http://127.0.0.1:1'), { code: 3, stderr: /nothing listens there/ })
  const name = await list('http://no-such-node.invalid')
  t.match(name, { code: 3, stderr: /the name of the machine (is not known|cannot be looked up)/ })
  const mute = createSocketServer((socket) => socket.end('SSH-2.0\r\n')).listen(0, '127.0.0.1')
  await once(mute, 'listening')
  t.teardown(() => void mute.close())
  t.match(await list(urlOf(mute.address())), { code: 3 }, 'another protocol')
  const secure = urlOf(mute.address()).replace('http', 'https')
  t.match(await list(secure), { code: 3, stderr: /it does not speak TLS/ })
})

t.test('nothing is sent of an upload that is refused', async (t) => {
  let received = 0
  const url = await serverOf(t, (request, response) => {
    request.on('data', (chunk: Buffer) => {
      received += chunk.length
    })
    response.writeHead(507).end('{"message": "no space", "code": "ERR_DISK_FULL"}')
  })
  const home = temporaryDirectory(t)
  writeFileSync(join(home, 'v1.zip'), Buffer.alloc(1_000_000))
  const words = ['generations', 'import', 'wine', join(home, 'v1.zip'), '--url', url]
  t.match(await runHere(shellOf(home), words), { code: 1, stderr: 'switchyard: no space\n' })
  t.equal(received, 0)
})
