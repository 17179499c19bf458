/**
 * A child host over a Unix socket: children are started elsewhere, and their streams come in as
 * connections whose first line says which stream of which child they are.
 *
 * The socket lies in a private folder; whoever connects without the token is dropped all the same.
 */

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { signal } from '../../core/children/processes.ts'
import type { ChildSpec, FromSpawner } from '../../core/children/spec.ts'
import type { ChildHost, RunningChild } from './child-host.ts'

/** The shortest of the systems' limits, less the byte that ends the text. */
const PATH_BYTES_MAX = 103
const HEAD_BYTES_MAX = 128
const HEAD_MS = 5_000
/** Folder, connections and exec; not the time that the program needs to get ready. */
const START_MS = 20_000
const CONNECTIONS_MAX = 1_024
const NEWLINE = 10

/** The way to whoever starts the processes. */
export interface SpawnerLink {
  spawn(request: SpawnOrder): void
  kill(id: number): void
}

interface SpawnOrder {
  readonly id: number
  readonly socket: string
  readonly token: string
  readonly spec: ChildSpec
}

/** A child between the order and the end of its process. */
interface Entry {
  readonly spec: ChildSpec
  pid: number | null
  output: Socket | null
  frames: Socket | null
  /** Once: when all has come, or when it cannot come any more. */
  started: ((failure: string | null) => void) | null
  readonly ended: (how: string) => void
  readonly exited: Promise<string>
}

export class SocketHost implements ChildHost {
  readonly #server: Server
  readonly #path: string
  readonly #link: SpawnerLink
  readonly #token = randomBytes(16).toString('hex')
  readonly #entries = new Map<number, Entry>()
  readonly #strangers = new Set<Socket>()
  #lastId = 0
  #closed: Promise<void> | null = null

  private constructor(server: Server, path: string, link: SpawnerLink) {
    this.#server = server
    this.#path = path
    this.#link = link
    server.on('connection', (socket) => this.#receive(socket))
    // Without descriptors left nothing is accepted; who waits for a stream has a deadline.
    server.on('error', () => {})
  }

  static async open(runDirectory: string, link: SpawnerLink): Promise<SocketHost> {
    await mkdir(runDirectory, { recursive: true, mode: 0o700 })
    const path = await socketPath(runDirectory)
    const server = createServer({ allowHalfOpen: false })
    server.maxConnections = CONNECTIONS_MAX
    server.listen(path)
    await once(server, 'listening')
    await chmod(path, 0o600)
    return new SocketHost(server, path, link)
  }

  async start(spec: ChildSpec): Promise<RunningChild> {
    if (this.#closed !== null) throw new Error('the generation is being released')
    this.#lastId += 1
    const id = this.#lastId
    const entry = newEntry(spec)
    this.#entries.set(id, entry)
    const ready = new Promise<string | null>((resolve) => {
      entry.started = resolve
    })
    const timer = setTimeout(() => entry.started?.('it did not start in time'), START_MS)
    this.#link.spawn({ id, socket: this.#path, token: this.#token, spec })
    const failure = await ready
    clearTimeout(timer)
    entry.started = null
    const { pid, output, frames } = entry
    if (failure !== null || pid === null || output === null) {
      this.#link.kill(id)
      output?.destroy()
      frames?.destroy()
      throw new Error(failure ?? 'it has ended')
    }
    return this.#running({ id, entry, pid, output, frames })
  }

  /** What the one who starts the processes has to say. */
  told(message: FromSpawner): void {
    const entry = this.#entries.get(message.id)
    if (entry === undefined) return
    if (message.kind === 'spawned') {
      entry.pid = message.pid
      settleStart(entry)
      return
    }
    this.#entries.delete(message.id)
    entry.started?.(message.how)
    entry.ended(message.how)
  }

  /** Whoever starts the processes is gone, and they go with it. */
  lost(): void {
    for (const id of this.#entries.keys()) this.told({ kind: 'exited', id, how: 'SIGKILL' })
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    const ends = [...this.#entries.values()].map((entry) => entry.exited)
    for (const id of this.#entries.keys()) this.#link.kill(id)
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, HEAD_MS)
    })
    await Promise.race([late, Promise.allSettled(ends)])
    clearTimeout(timer)
    for (const socket of this.#strangers) socket.destroy()
    for (const { output, frames } of this.#entries.values()) {
      output?.destroy()
      frames?.destroy()
    }
    // Connections that are being read to their end keep nobody waiting here.
    this.#server.close()
    await rm(this.#path, { force: true })
    if (isOwnFolder(this.#path)) await rm(dirname(this.#path), { recursive: true, force: true })
  }

  #running({ id, entry, pid, output, frames }: Started): RunningChild {
    let gone = false
    void entry.exited.then(() => {
      gone = true
    })
    return {
      pid,
      output,
      frames,
      exited: entry.exited,
      interrupt: (name) => {
        if (!gone) signal(pid, name)
      },
      kill: () => {
        if (!gone) this.#link.kill(id)
      },
    }
  }

  /** Reads the first line and nothing more: what follows is for whoever gets the stream. */
  #receive(socket: Socket): void {
    let head: Buffer = Buffer.alloc(0)
    this.#strangers.add(socket)
    const drop = (): Socket => socket.destroy()
    const timer = setTimeout(drop, HEAD_MS)
    const forget = (): void => {
      clearTimeout(timer)
      this.#strangers.delete(socket)
    }
    // Not by `data`: a stream that was paused by hand stays so for whoever gets it.
    const onReadable = (): void => {
      const chunk: Buffer | null = socket.read()
      if (chunk === null) return
      head = head.length === 0 ? chunk : Buffer.concat([head, chunk])
      const end = head.indexOf(NEWLINE)
      if (end < 0 && head.length <= HEAD_BYTES_MAX) return
      socket.off('readable', onReadable)
      forget()
      if (end + 1 < head.length) socket.unshift(head.subarray(end + 1))
      const isWhole = end >= 0 && end <= HEAD_BYTES_MAX
      if (!isWhole || !this.#assign(socket, head.toString('latin1', 0, end))) drop()
    }
    socket.on('error', drop)
    socket.on('close', forget)
    socket.on('readable', onReadable)
  }

  #assign(socket: Socket, head: string): boolean {
    const [token, id, stream] = head.split(' ')
    const entry = this.#entries.get(Number(id))
    if (token !== this.#token || entry === undefined || entry.started === null) return false
    if (stream === 'output' && entry.output === null) entry.output = socket
    else if (stream === 'frames' && entry.frames === null && entry.spec.frames) {
      entry.frames = socket
    } else return false
    settleStart(entry)
    return true
  }
}

interface Started {
  readonly id: number
  readonly entry: Entry
  readonly pid: number
  readonly output: Socket
  readonly frames: Socket | null
}

function newEntry(spec: ChildSpec): Entry {
  let ended: (how: string) => void = () => {}
  const exited = new Promise<string>((resolve) => {
    ended = resolve
  })
  return { spec, pid: null, output: null, frames: null, started: null, ended, exited }
}

function settleStart({ spec, pid, output, frames, started }: Entry): void {
  if (pid === null || output === null || (spec.frames && frames === null)) return
  started?.(null)
}

const OWN_FOLDER = 'switchyard-socket-'

/** Systems allow about a hundred bytes, and a data directory may lie deeper than that. */
async function socketPath(runDirectory: string): Promise<string> {
  // Named like the folders of this process's children, so that it goes with them after a SIGKILL.
  const name = `${process.pid}-${randomBytes(6).toString('hex')}.sock`
  const path = join(runDirectory, name)
  if (Buffer.byteLength(path) <= PATH_BYTES_MAX) return path
  return join(await mkdtemp(join(tmpdir(), OWN_FOLDER)), name)
}

function isOwnFolder(path: string): boolean {
  return dirname(path).startsWith(join(tmpdir(), OWN_FOLDER))
}
