/** One serving process by itself, with the test in the place of control. */

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { compiled } from '../../bench/paths.ts'
import { channelToServe } from '../../core/channel/ipc.ts'
import {
  CHANNEL_VERSION,
  type DesiredGeneration,
  type DesiredKey,
  type DesiredState,
  type ServeConfig,
  type ToControl,
  type ToServe,
} from '../../core/channel/messages.ts'
import { StateSent } from '../../core/channel/wire-state.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { NO_QUERY_LOG, NO_RUNTIMES } from './runtimes.ts'
import { until } from './waiting.ts'

type Said<K extends ToControl['kind']> = Extract<ToControl, { kind: K }>

export interface ServeChild {
  readonly pid: number
  /** Everything that the process has said, oldest first. */
  readonly said: readonly ToControl[]
  send(message: ToServe): void
  /** As control does it: what was sent before is left out. */
  desire(state: DesiredState): void
  /** Cuts the channel, as the end of control would. */
  disconnect(): void
  kill(): void
  /** Waits for the newest message of this kind. */
  heard<K extends ToControl['kind']>(kind: K, count?: number): Promise<Said<K>>
  /** `0`, another code, or the name of a signal. */
  readonly ended: Promise<string>
}

interface Teardown {
  teardown(callback: () => void | Promise<void>): void
}

export function serveChild(
  t: Teardown,
  config: Partial<ServeConfig> & { readonly port: number },
  program = compiled('core/main.ts'),
): ServeChild {
  const child = fork(program, ['--role=serve'], {
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    execArgv: [],
  })
  const ended = once(child, 'exit').then(([code, signal]) => String(signal ?? code))
  const channel = channelToServe(child)
  const said: ToControl[] = []
  const sent = new StateSent()
  channel.onMessage((message) => said.push(message))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  channel.send({ kind: 'configure', channel: CHANNEL_VERSION, config: configOf(config) })
  return {
    pid: child.pid ?? 0,
    said,
    send: (message) => void channel.send(message),
    desire: (state) =>
      void channel.send({ kind: 'desired', state: sent.shorten(state), stopped: [] }),
    disconnect: () => channel.close(),
    kill: () => void child.kill('SIGKILL'),
    heard: async (kind, count = 1) => {
      const found = () => said.filter((message) => isOf(message, kind))
      await until(() => found().length >= count)
      return found().at(-1) as Said<typeof kind>
    },
    ended,
  }
}

/** The services' one name is `svc`; null maps nothing. */
export function desired(
  revision: number,
  generation: DesiredGeneration,
  keys: readonly DesiredKey[] = [],
): DesiredState {
  const { serviceId, generationId } = generation
  const services = [{ serviceId, enabled: true, mapping: [{ generationId, proba: 1 }] }]
  return { revision, services, generations: [generation], keys }
}

/** Waits until the generation answers. */
export async function follow(child: ServeChild, state: DesiredState): Promise<void> {
  child.desire(state)
  await until(() => isActive(child.said, state.revision))
}

function isActive(said: readonly ToControl[], revision: number): boolean {
  const last = said.findLast((message) => isOf(message, 'observed'))
  if (last === undefined || last.state.revision !== revision) return false
  return last.state.generations.some(({ state }) => state === 'active')
}

function isOf<K extends ToControl['kind']>(message: ToControl, kind: K): message is Said<K> {
  return message.kind === kind
}

function configOf(given: Partial<ServeConfig> & { readonly port: number }): ServeConfig {
  return {
    host: '127.0.0.1',
    tlsCert: null,
    tlsKey: null,
    threads: 1,
    modelCores: null,
    strictHeaders: true,
    bodyBytesMax: LIMITS.bodyBytesMax,
    bodyBytesTotalMax: LIMITS.bodyBytesTotalMax,
    unreadBytesMax: LIMITS.unreadBytesMin,
    connectionsMax: 1_000,
    hangMs: 60_000,
    drainMs: 15_000,
    capacity: { generationsMax: null, bytesMax: null },
    notAliveFile: '/nowhere/not-alive',
    version: '1.2.3',
    logLevel: 'fatal',
    processes: 1,
    place: 0,
    witnessFile: null,
    runtimes: NO_RUNTIMES,
    issuers: [],
    queryLog: NO_QUERY_LOG,
    ...given,
  }
}
