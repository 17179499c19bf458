/**
 * The channel between control and serve over the IPC of `child_process.fork`.
 *
 * One small interface, so that hand-over, several serving processes and, later, other machines
 * change the transport and nothing else. `serialization: 'advanced'` carries typed arrays as they
 * are; a message that cannot be delivered is dropped, because the other side is then gone and
 * `onClose` tells.
 */

import type { ChildProcess } from 'node:child_process'
import type { EventEmitter } from 'node:events'
import type { ToControl, ToServe } from './messages.ts'

export interface Channel<Out, In> {
  /** False when the other side is gone; then nothing was sent. */
  send(message: Out): boolean
  onMessage(receive: (message: In) => void): void
  /** Called once, when the other side has gone or close() was called. */
  onClose(callback: () => void): void
  close(): void
}

/** What ChildProcess and `process` have in common; a getter, since `connected` changes. */
interface IpcEnd {
  readonly emitter: EventEmitter
  isConnected(): boolean
  send(message: object): void
  disconnect(): void
}

/** Control's end: one per serving process. */
export function channelToServe(child: ChildProcess): Channel<ToServe, ToControl> {
  return channelOf({
    emitter: child,
    isConnected: () => child.connected,
    // With a callback a broken pipe is reported there and not thrown as an 'error' event.
    send: (message) => child.send(message, ignore),
    disconnect: () => child.disconnect(),
  })
}

/** Serve's end; `parent` is its own `process`. */
export function channelToControl(parent: NodeJS.Process): Channel<ToControl, ToServe> {
  return channelOf({
    emitter: parent,
    isConnected: () => parent.connected,
    send: (message) => parent.send?.(message, undefined, {}, ignore),
    disconnect: () => parent.disconnect(),
  })
}

function channelOf<Out extends object, In>(end: IpcEnd): Channel<Out, In> {
  return {
    send(message) {
      if (!end.isConnected()) return false
      end.send(message)
      return true
    },
    onMessage(receive) {
      end.emitter.on('message', receive)
    },
    onClose(callback) {
      if (end.isConnected()) end.emitter.once('disconnect', callback)
      else queueMicrotask(callback)
    },
    close() {
      if (end.isConnected()) end.disconnect()
    },
  }
}

function ignore(): void {}
