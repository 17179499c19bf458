/**
 * The child host of a pool's thread: the main thread of serve starts the processes, asked through a
 * port, and keeps itself out of what is said with them.
 */

import type { MessagePort } from 'node:worker_threads'
import type { FromSpawner, ToSpawner } from '../../core/children/spec.ts'
import type { RuntimeSettings } from '../../core/config/runtimes.ts'
import type { ChildHost } from './child-host.ts'
import { SocketHost } from './socket-host.ts'

/** The port stays open when the host is closed: log lines and statuses travel through it too. */
export async function portHost(port: MessagePort, settings: RuntimeSettings): Promise<ChildHost> {
  const post = (message: ToSpawner): void => port.postMessage(message)
  const host = await SocketHost.open(settings.runDirectory, {
    spawn: (order) => post({ kind: 'spawn', ...order }),
    kill: (id) => post({ kind: 'kill', id }),
  })
  port.on('message', (message: FromSpawner) => host.told(message))
  port.on('close', () => host.lost())
  return host
}
