/** The child host of the forge: one process that starts its children itself. */

import { Spawner } from '../../core/children/spawner.ts'
import type { RuntimeSettings } from '../../core/config/runtimes.ts'
import type { RuntimeLog } from '../runtime.ts'
import type { ChildHost } from './child-host.ts'
import { SocketHost } from './socket-host.ts'

export async function localHost(settings: RuntimeSettings, log: RuntimeLog): Promise<ChildHost> {
  const logger = {
    debug: () => {},
    info: (fields: object, text: string) => log('info', { ...fields }, text),
    warn: (fields: object, text: string) => log('warn', { ...fields }, text),
    error: (fields: object, text: string) => log('error', { ...fields }, text),
  }
  const spawner = new Spawner({ settings, logger })
  const children = new Map<number, { kill(): void }>()
  const host = await SocketHost.open(settings.runDirectory, {
    spawn: (order) => {
      const child = spawner.spawn({ kind: 'spawn', ...order }, (message) => {
        if (message.kind === 'exited') children.delete(message.id)
        host.told(message)
      })
      children.set(order.id, child)
    },
    kill: (id) => children.get(id)?.kill(),
  })
  return {
    start: (spec) => host.start(spec),
    close: async () => {
      await host.close()
      await spawner.close()
    },
  }
}
