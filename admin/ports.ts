/**
 * Is a port free? Asked before anything listens, because uWebSockets.js would share a port with
 * whoever has it already (SO_REUSEPORT) and half of all requests would get the other program.
 */

import { randomInt } from 'node:crypto'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { nowMs } from '../core/base/clock.ts'
import { AppError, messageOf } from '../core/base/errors.ts'

/** Below the range that Linux (32768) and macOS (49152) take for outgoing connections. */
const PICK_MIN = 20_000
const PICK_END = 32_000
const PICKS_MAX = 50
/** A serving process whose control was killed leaves the port as soon as it notices. */
const ORPHAN_WAIT_MS = 3_000
const ORPHAN_POLL_MS = 50
/** The programs of a control, among the arguments of its process. */
const CONTROL = /(^|\/)(core\/main\.js|switchyard(\.mjs)?)$/

export interface PortWish {
  readonly host: string
  readonly port: number
  /** How the user chose it: `--port`. */
  readonly flag: string
}

/** null: free. Else one line that names the port, the option and who holds it. */
export async function whyNotFree(wish: PortWish): Promise<string | null> {
  const error = await tryToListenPatiently(wish)
  if (error === null) return null
  const code = 'code' in error ? error.code : ''
  const at = `${wish.host} port ${wish.port}`
  if (code === 'EADDRINUSE') {
    const pid = await holderOf((await inodesOf(wish.port)) ?? new Set())
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
 * null: only these processes listen on the port. Asked once they do: whoever listens as well, and
 * allowed it to be shared like they do, would be given part of all requests.
 */
export async function whyShared(
  { port, flag }: Omit<PortWish, 'host'>,
  pids: readonly number[],
): Promise<string | null> {
  const rows = await listeners(port).catch(() => [])
  const own = new Set<string>()
  for (const pid of pids) for (const inode of await socketsOf(pid)) own.add(inode)
  const addresses = new Set(rows.filter(({ inode }) => own.has(inode)).map(({ at }) => at))
  // Another address of this machine may have the same port and shares nothing.
  const foreign = rows.filter(({ inode, at }) => !own.has(inode) && addresses.has(at))
  if (foreign.length === 0) return null
  const pid = await holderOf(new Set(foreign.map(({ inode }) => inode)))
  const who = pid === null ? 'another process' : `process ${pid}`
  return `port ${port} is shared by ${who}, which gets part of all queries; see ${flag}`
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

async function tryToListenPatiently(wish: PortWish): Promise<Error | null> {
  const endMs = nowMs() + ORPHAN_WAIT_MS
  let error = await tryToListen(wish)
  while (error !== null && nowMs() < endMs && (await isLeft(wish.port))) {
    await sleep(ORPHAN_POLL_MS)
    error = await tryToListen(wish)
  }
  return error
}

function tryToListen({ host, port }: Omit<PortWish, 'flag'>): Promise<Error | null> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', resolve)
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)))
  })
}

/** Whoever held it is gone, or is a serving process of a node whose control is gone. */
async function isLeft(port: number): Promise<boolean> {
  const held = await inodesOf(port)
  if (held === null || held.size === 0) return held !== null
  const pid = await holderOf(held)
  if (pid !== null && (await isOrphan(pid))) return true
  // It may have ended while we looked.
  const now = await inodesOf(port)
  return ![...held].some((inode) => now?.has(inode) === true)
}

async function isOrphan(pid: number): Promise<boolean> {
  if (!(await argumentsOf(pid)).includes('--role=serve')) return false
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  const parent = Number(/^PPid:\s+(\d+)$/m.exec(status)?.[1] ?? 0)
  return !(await argumentsOf(parent)).some((text) => CONTROL.test(text))
}

async function argumentsOf(pid: number): Promise<string[]> {
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  return text.split('\0')
}

/** Of the sockets that listen on the port; null where the system does not tell. */
async function inodesOf(port: number): Promise<ReadonlySet<string> | null> {
  const rows = await listeners(port).catch(() => null)
  return rows === null ? null : new Set(rows.map(({ inode }) => inode))
}

/** Linux tells everyone who listens, but whose it is only to the same user or root. */
async function holderOf(inodes: ReadonlySet<string>): Promise<number | null> {
  if (inodes.size === 0) return null
  const names = await readdir('/proc').catch(() => [])
  const pids = names.filter((name) => /^\d+$/.test(name)).map(Number)
  // Where a parent holds it too, that is older and the one to talk to.
  for (const pid of pids.sort((a, b) => a - b)) {
    if ((await socketsOf(pid)).some((inode) => inodes.has(inode))) return pid
  }
  return null
}

interface ListenerRow {
  readonly inode: string
  /** Table and local address, as the system writes them. */
  readonly at: string
}

/** The sockets that listen on the port. */
async function listeners(port: number): Promise<ListenerRow[]> {
  const LISTEN = '0A'
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const found: ListenerRow[] = []
  for (const table of ['tcp', 'tcp6']) {
    const rows = (await readFile(`/proc/net/${table}`, 'utf8')).trim().split('\n').slice(1)
    for (const row of rows) {
      const [, local = '', , state, , , , , , inode = ''] = row.trim().split(/\s+/)
      const at = `${table} ${local}`
      if (local.endsWith(suffix) && state === LISTEN) found.push({ inode, at })
    }
  }
  return found
}

/** Inodes of the sockets that a process holds. */
async function socketsOf(pid: number): Promise<string[]> {
  const folder = `/proc/${pid}/fd`
  const descriptors = await readdir(folder).catch(() => [])
  const targets = descriptors.map((name) => readlink(`${folder}/${name}`).catch(() => ''))
  const inodes = (await Promise.all(targets)).map((text) => /^socket:\[(\d+)\]$/.exec(text)?.[1])
  return inodes.filter((inode) => inode !== undefined)
}
