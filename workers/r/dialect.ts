/** How an R child is started and spoken to: what a crew needs to know of R. */

import { assetPath } from '../../core/base/assets.ts'
import { AppError, type ErrorCode } from '../../core/base/errors.ts'
import type { REndpointPlan } from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { RunningChild } from '../children/child-host.ts'
import { FrameChannel } from '../children/frames.ts'
import type { Dialect, Opening, Session } from '../children/member.ts'
import { shown } from '../messages.ts'
import type { RuntimeContext } from '../runtime.ts'
import { decodeR, XdrRefused } from './decode.ts'
import { encodeR } from './encode.ts'
import type { Awaited, Listener } from './listener.ts'
import { list } from './to-r.ts'
import { doubles, NO_ATTRIBUTES, type RValue } from './xdr.ts'

/** Arguments of each run of the function, as named lists. */
export type RCall = readonly RValue[]

/** What became of each run, in order. */
export type RReply = readonly RRow[]

export type RRow =
  | { readonly kind: 'value'; readonly value: RValue }
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly detail: string }

export type RSession = Session<RCall, RReply>

export interface DialectOptions {
  readonly plan: REndpointPlan
  readonly context: RuntimeContext
  readonly rscript: string
  readonly listener: Listener
  /** Before a child counts as ready. */
  readonly warmUp: (session: RSession) => Promise<void>
}

export function rDialect(options: DialectOptions): Dialect<RCall, RReply> {
  return { interruptSignal: 'SIGINT', prepare: () => opening(options) }
}

function opening(options: DialectOptions): Opening<RCall, RReply> {
  const awaited = options.listener.expect()
  const { plan, context, rscript } = options
  const { settings, serviceId, generationId, directory } = context
  return {
    spec: {
      name: `${serviceId}/${generationId}/${plan.id}`,
      program: rscript,
      args: ['--vanilla', assetPath('workers/r/harness.R')],
      directory,
      env: environment(options, awaited),
      frames: false,
      limits: settings.childLimits,
    },
    open: async (child) => {
      const session = await open(child, awaited)
      await options.warmUp(session)
      return session
    },
    close: awaited.forget,
  }
}

/** Texts are UTF-8 on the way, so R reads and prints them right where its locale is that too. */
function environment({ plan, context, listener }: DialectOptions, awaited: Awaited) {
  const { environment: inherited } = context.settings
  const hasLocale = 'LC_ALL' in inherited || 'LANG' in inherited
  return {
    ...(hasLocale ? {} : { LANG: 'C.UTF-8' }),
    ...plan.r.variables,
    SWITCHYARD_PORT: String(listener.port),
    SWITCHYARD_TOKEN: awaited.token,
    SWITCHYARD_FILE: plan.r.file,
    SWITCHYARD_FUNCTION: plan.r.name,
    SWITCHYARD_ANSWER_BYTES: String(LIMITS.childAnswerBytesMax),
  }
}

async function open(child: RunningChild, awaited: Awaited): Promise<RSession> {
  const socket = await awaited.socket
  // The connection ends with its process, whatever else holds the descriptor.
  void child.exited.then(() => socket.destroy())
  const channel = new FrameChannel(socket)
  const [kind, text] = textsOf(decoded(await channel.next()))
  if (kind === 'refused') throw new AppError('ERR_CODE_REFUSED', shown(text ?? ''))
  if (kind !== 'ready') throw unusable('it did not say that it is ready')
  let id = 0
  return {
    program: `R ${text ?? ''}`,
    ended: channel.ended,
    call: async (call) => {
      id += 1
      const number = { kind: 'double', values: doubles([id]), attributes: NO_ATTRIBUTES } as const
      const frame = await channel.ask(encodeR(list([number, list(call)])))
      return replyOf(decoded(frame), id, call.length)
    },
  }
}

function decoded(frame: Uint8Array): readonly RValue[] {
  try {
    const value = decodeR(frame)
    if (value.kind === 'list') return value.values
  } catch (error) {
    if (!(error instanceof XdrRefused)) throw error
    throw unusable(error.message)
  }
  throw unusable('it is no list')
}

function replyOf(reply: readonly RValue[], id: number, runs: number): RReply {
  const [number, kind, rows] = reply
  if (number?.kind !== 'double' || number.values[0] !== id) throw unusable('it has a wrong number')
  const [word] = textsOf(kind === undefined ? [] : [kind])
  if (word === 'interrupted') throw new AppError('ERR_DEADLINE')
  if (rows?.kind !== 'list' || rows.values.length !== runs) {
    throw unusable(`it is not about ${runs} runs`)
  }
  return rows.values.map(rowOf)
}

const CODES: Readonly<Record<string, ErrorCode>> = {
  arguments: 'ERR_ARGUMENT_INVALID',
  invalid: 'ERR_ANSWER_INVALID',
  raised: 'ERR_CODE_RAISED',
}

function rowOf(row: RValue): RRow {
  const [kind, value] = row.kind === 'list' ? row.values : []
  const [word = ''] = textsOf(kind === undefined ? [] : [kind])
  if (word === 'value' && value !== undefined) return { kind: 'value', value }
  const code = CODES[word]
  if (code === undefined || value === undefined) throw unusable('a run is missing')
  return { kind: 'failed', code, detail: shown(textsOf([value])[0] ?? '') }
}

/** The first text of each entry; '' for what is none. */
function textsOf(values: readonly RValue[]): string[] {
  return values.map((value) => (value.kind === 'string' ? (value.values[0] ?? '') : ''))
}

function unusable(why: string): AppError {
  return new AppError('ERR_ANSWER_INVALID', `the answer cannot be read: ${why}`)
}
