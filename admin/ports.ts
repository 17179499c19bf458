/**
 * Is a port free? Asked before anything listens, because uWebSockets.js would share a port with
 * whoever has it already (SO_REUSEPORT) and half of all requests would get the other program.
 */

import { randomInt } from 'node:crypto'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { createServer } from 'node:net'
import { AppError, messageOf } from '../core/base/errors.ts'

/** Below the range that Linux (32768) and macOS (49152) take for outgoing connections. */
const PICK_MIN = 20_000
const PICK_END = 32_000
const PICKS_MAX = 50

export interface PortWish {
  readonly host: string
  readonly port: number
  /** How the user chose it: `--port`. */
  readonly flag: string
}

/** null: free. Else one line that names the port, the option and who holds it. */
export async function whyNotFree(wish: PortWish): Promise<string | null> {
  const error = await tryToListen(wish)
  if (error === null) return null
  const code = 'code' in error ? error.code : ''
  const at = `${wish.host} port ${wish.port}`
  if (code === 'EADDRINUSE') {
    const pid = await holderOf(wish.port).catch(() => null)
    const who = pid === null ? 'another process' : `process ${pid}`
    return `${at} is in use by ${who}; choose another with ${wish.flag}`
  }
  if (code === 'EACCES') return `${at} needs rights that this user lacks; choose with ${wish.flag}`
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
    const host = wish.flag.replace('port', 'host')
    return `${wish.host} is no address of this machine; choose another with ${host}`
  }
  return `${at} cannot be opened (${messageOf(error)}); see ${wish.flag}`
}

/**
 * A port for `--port 0`. Not one that the system hands out: those are also given to outgoing
 * connections, so a replaced serving process might not get it back, and uWebSockets.js makes a
 * port reusable only when it was named.
 */
export async function pickPort(host: string): Promise<number> {
  for (let tries = 0; tries < PICKS_MAX; tries++) {
    const port = randomInt(PICK_MIN, PICK_END)
    if ((await tryToListen({ host, port })) === null) return port
  }
  throw new AppError('ERR_STARTING', `no free port was found on ${host}; name one with --port`)
}

function tryToListen({ host, port }: Omit<PortWish, 'flag'>): Promise<Error | null> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', resolve)
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)))
  })
}

/** Linux tells everyone who listens, but whose it is only to the same user or root. */
async function holderOf(port: number): Promise<number | null> {
  const inodes = new Set([...(await listeners('tcp', port)), ...(await listeners('tcp6', port))])
  if (inodes.size === 0) return null
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  // A serving process holds the port too; its parent, which is older, is the one to talk to.
  for (const pid of pids.sort((a, b) => a - b)) {
    if (await holdsOneOf(pid, inodes)) return pid
  }
  return null
}

/** Inodes of the sockets that listen on the port. */
async function listeners(table: 'tcp' | 'tcp6', port: number): Promise<string[]> {
  const LISTEN = '0A'
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const rows = (await readFile(`/proc/net/${table}`, 'utf8')).trim().split('\n').slice(1)
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter((cells) => cells[1]?.endsWith(suffix) && cells[3] === LISTEN)
    .map((cells) => cells[9] ?? '')
}

async function holdsOneOf(pid: number, inodes: ReadonlySet<string>): Promise<boolean> {
  const folder = `/proc/${pid}/fd`
  const descriptors = await readdir(folder).catch(() => [])
  for (const descriptor of descriptors) {
    const target = await readlink(`${folder}/${descriptor}`).catch(() => '')
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1]
    if (inode !== undefined && inodes.has(inode)) return true
  }
  return false
}
