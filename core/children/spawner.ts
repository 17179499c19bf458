/**
 * Starts child processes for whoever asks: threads through a port, the forge by a call. Lives in
 * the main thread, because a child that is to die with its parent dies with the thread that
 * started it.
 */

import type { MessagePort } from 'node:worker_threads'
import { assertNever } from '../base/assert.ts'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { RuntimeSettings } from '../config/runtimes.ts'
import { Child, type SpawnRequest } from './child.ts'
import { Guard } from './guard.ts'
import type { FromSpawner, RuntimeStatus, ToSpawner } from './spec.ts'
import { Sweeper } from './survivors.ts'
import { watchOver } from './watchdog.ts'
import { folderPrefix } from './working-folder.ts'

/** Longest wait for children that were killed; one that hangs in the kernel is left to it. */
const CLOSE_MS = 2_000

export interface SpawnerOptions {
  readonly settings: RuntimeSettings
  readonly logger: Logger
}

export interface Spawned {
  kill(): void
  /** Nothing is left: no process that it started, no file. */
  readonly gone: Promise<void>
}

export class Spawner {
  readonly #settings: RuntimeSettings
  readonly #logger: Logger
  readonly #live = new Set<Child>()
  readonly #sweeper = new Sweeper()
  readonly #guard = new Guard()
  readonly #prefix: string
  #unwatch: (() => void) | null = null
  #closed = false

  constructor({ settings, logger }: SpawnerOptions) {
    this.#settings = settings
    this.#logger = logger
    this.#prefix = folderPrefix(settings.runDirectory)
  }

  /**
   * Serves one thread until its end of the port closes or the returned function is called; both
   * kill what it has started.
   */
  attach(
    port: MessagePort,
    told: (statuses: readonly RuntimeStatus[]) => void = () => {},
  ): () => void {
    const client = new Client(this, this.#logger, { port, told })
    const onMessage = (message: ToSpawner): void => client.take(message)
    const detach = (): void => {
      port.off('message', onMessage)
      port.close()
      client.killAll()
    }
    port.on('message', onMessage)
    port.on('close', detach)
    return detach
  }

  /** Never throws; the last that is told is `exited`. */
  spawn(request: SpawnRequest, tell: (message: FromSpawner) => void): Spawned {
    if (this.#closed) {
      queueMicrotask(() => tell({ kind: 'exited', id: request.id, how: 'the node stops' }))
      return { kill() {}, gone: Promise.resolve() }
    }
    this.#unwatch ??= watchOver(this.#prefix, this.#settings.environment['PATH'])
    const child = new Child({
      request,
      settings: this.#settings,
      prefix: this.#prefix,
      tell,
      sweeper: this.#sweeper,
      guard: this.#guard,
      count: () => this.#live.size,
      failed: (fields, text) => this.#logger.warn(fields, text),
    })
    this.#live.add(child)
    void child.gone.finally(() => this.#live.delete(child))
    return child
  }

  /** Kills all; settles when nothing is left of them, or after two seconds. */
  async close(): Promise<void> {
    this.#closed = true
    for (const child of this.#live) child.kill()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_MS)
    })
    await Promise.race([late, Promise.allSettled([...this.#live].map((child) => child.gone))])
    clearTimeout(timer)
    this.#unwatch?.()
  }
}

interface ClientOptions {
  readonly port: MessagePort
  readonly told: (statuses: readonly RuntimeStatus[]) => void
}

/** What one thread has started, under its own ids. */
class Client {
  readonly #spawner: Spawner
  readonly #logger: Logger
  readonly #options: ClientOptions
  readonly #children = new Map<number, Spawned>()

  constructor(spawner: Spawner, logger: Logger, options: ClientOptions) {
    this.#spawner = spawner
    this.#logger = logger
    this.#options = options
  }

  /** A message that cannot be handled must not end the process that serves everybody. */
  take(message: ToSpawner): void {
    try {
      this.#handle(message)
    } catch (error) {
      this.#logger.error({ reason: messageOf(error) }, 'a message of a thread failed')
    }
  }

  killAll(): void {
    for (const child of this.#children.values()) child.kill()
  }

  #handle(message: ToSpawner): void {
    switch (message.kind) {
      case 'spawn':
        this.#spawn(message)
        break
      case 'kill':
        this.#children.get(message.id)?.kill()
        break
      case 'log':
        this.#logger[message.level](message.fields, message.text)
        break
      case 'status':
        this.#options.told(message.statuses)
        break
      default:
        assertNever(message)
    }
  }

  #spawn(request: SpawnRequest): void {
    const { id } = request
    const child = this.#spawner.spawn(request, (message) => {
      if (message.kind === 'exited') this.#children.delete(id)
      this.#options.port.postMessage(message)
    })
    this.#children.set(id, child)
  }
}
