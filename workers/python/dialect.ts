/**
 * How Python children are started and spoken to. A frame is the length of a header, the header as
 * JSON, and bytes as they are: bodies and answers pass without being read here.
 */

import { basename } from 'node:path'
import { assetPath } from '../../core/base/assets.ts'
import { AppError, type ErrorCode } from '../../core/base/errors.ts'
import { isObject } from '../../core/base/json.ts'
import type { FunctionArgument, PythonEndpointPlan } from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { RunningChild } from '../children/child-host.ts'
import { FrameChannel } from '../children/frames.ts'
import type { Dialect, Opening, Session } from '../children/member.ts'
import { shown } from '../messages.ts'
import type { RuntimeContext } from '../runtime.ts'

export interface PythonCall {
  readonly header: Readonly<Record<string, unknown>>
  readonly body: Uint8Array | string
}

export interface CustomResponse {
  readonly status: number
  readonly headers: readonly (readonly [string, string])[]
}

export type PythonReply =
  | {
      readonly kind: 'answer'
      /** Time in the code of the endpoint alone. */
      readonly codeUs: number
      /** Shares its memory with other frames. */
      readonly body: Buffer
      readonly custom: CustomResponse | null
    }
  | {
      readonly kind: 'failed'
      readonly code: ErrorCode
      readonly detail: string
      readonly status: number | null
    }

export interface DialectOptions {
  readonly plan: PythonEndpointPlan
  readonly context: RuntimeContext
  /** Absolute path of the interpreter. */
  readonly python: string
  /** Calls that every child answers before it serves. */
  readonly warmUp: (session: Session<PythonCall, PythonReply>) => Promise<void>
  /** Told by each child once its code is loaded; null: not known, or any. */
  readonly onArguments: (found: readonly FunctionArgument[] | null) => void
}

/** Room for the header of a frame within the limit of the whole. */
const HEADER_BYTES_MAX = 64 * 1_024
const NO_BODY = new Uint8Array(0)
/** What the harness may answer; anything else was written by the code behind its back. */
const CODES: ReadonlySet<unknown> = new Set<ErrorCode>([
  'ERR_ANSWER_INVALID',
  'ERR_ARGUMENT_INVALID',
  'ERR_BODY_INVALID',
  'ERR_CODE_RAISED',
  'ERR_DEADLINE',
])

export function pythonDialect(options: DialectOptions): Dialect<PythonCall, PythonReply> {
  return { interruptSignal: 'SIGUSR1', prepare: () => opening(options) }
}

function opening(options: DialectOptions): Opening<PythonCall, PythonReply> {
  const { plan, context, python, warmUp } = options
  return {
    spec: {
      name: `${context.serviceId}/${context.generationId}/${plan.id}`,
      program: python,
      args: ['-u', '-B', assetPath('workers/python/harness.py')],
      directory: context.directory,
      env: plan.python.variables,
      frames: true,
      limits: context.settings.childLimits,
    },
    open: async (child) => {
      const session = await openSession(child, options)
      await warmUp(session)
      return session
    },
  }
}

async function openSession(
  { frames }: RunningChild,
  { plan, context, onArguments }: DialectOptions,
): Promise<Session<PythonCall, PythonReply>> {
  if (frames === null) throw new AppError('ERR_INTERNAL', 'a Python child without frames')
  const channel = new FrameChannel(frames)
  let id = 0
  const ask = async ({ header, body }: PythonCall): Promise<Frame> => {
    id += 1
    const asked = id
    const text = JSON.stringify({ ...header, id: asked })
    const length = Buffer.allocUnsafe(4)
    length.writeUInt32BE(Buffer.byteLength(text))
    const frame = frameOf(await channel.ask(length, text, body))
    if (frame.header['id'] === asked) return frame
    throw new AppError('ERR_ANSWER_INVALID', 'it answered another call than the one it was given')
  }
  const { header } = await ask({ header: setup(plan, context.serviceId), body: NO_BODY })
  if (header['ok'] !== true) throw refusal(plan, header)
  tellWarnings(header['warnings'], plan, context)
  onArguments(argumentsOf(header['arguments']))
  return {
    program: `Python ${String(header['python'])}`,
    ended: channel.ended,
    call: async (call) => replyOf(await ask(call)),
  }
}

/** What the child is to open; its paths are relative to its working folder. */
function setup({ type, python }: PythonEndpointPlan, service: string): Record<string, unknown> {
  const { prediction } = python
  return {
    kind: type === 'PYTHON_FUNCTION' ? 'function' : 'prediction',
    service,
    file: python.file,
    name: python.name,
    raw: python.rawResponse,
    dataFolder: python.dataFolder,
    prediction: prediction?.kind ?? null,
    input: prediction?.input ?? null,
    classes: prediction === null || prediction.classes.length === 0 ? null : prediction.classes,
    answerBytesMax: LIMITS.childAnswerBytesMax - HEADER_BYTES_MAX,
  }
}

interface Frame {
  readonly header: Readonly<Record<string, unknown>>
  readonly body: Buffer
}

function frameOf(frame: Buffer): Frame {
  const end = frame.length < 4 ? Number.POSITIVE_INFINITY : 4 + frame.readUInt32BE(0)
  let header: unknown
  try {
    header = end <= frame.length ? JSON.parse(frame.toString('latin1', 4, end)) : null
  } catch {
    header = null
  }
  if (!isObject(header)) throw new AppError('ERR_ANSWER_INVALID', 'its answer is no frame of ours')
  return { header, body: frame.subarray(end) }
}

function replyOf({ header, body }: Frame): PythonReply {
  const { error, message, status, us, raw } = header
  if (error !== undefined) {
    const code = [...CODES].find((known): known is ErrorCode => known === error)
    if (code === undefined) throw new AppError('ERR_ANSWER_INVALID', 'its answer is unknown')
    const detail = shown(String(message))
    return { kind: 'failed', code, detail, status: typeof status === 'number' ? status : null }
  }
  const codeUs = typeof us === 'number' ? us : 0
  return { kind: 'answer', codeUs, body, custom: raw === undefined ? null : customOf(raw) }
}

function customOf(raw: unknown): CustomResponse {
  const { status, headers } = isObject(raw) ? raw : {}
  const pairs = Array.isArray(headers) ? headers : []
  return {
    status: typeof status === 'number' ? status : Number.NaN,
    headers: pairs.map((pair) => [String(pair?.[0]), String(pair?.[1])] as const),
  }
}

function argumentsOf(told: unknown): readonly FunctionArgument[] | null {
  if (!Array.isArray(told)) return null
  return told.map((pair: unknown) => {
    const [name, required] = Array.isArray(pair) ? pair : []
    return { name: String(name), required: required === true }
  })
}

function refusal(plan: PythonEndpointPlan, header: Frame['header']): AppError {
  const { message, line, module } = header
  const where = typeof line === 'number' ? ` line ${line}` : ''
  const told = `${basename(plan.python.file)}${where}: ${String(message)}`
  const hint =
    typeof module === 'string'
      ? `; list "${module}" in the requirements of the bundle, install it for the node's Python, ` +
        'or name another interpreter with --python'
      : ''
  return new AppError('ERR_CODE_REFUSED', told + hint)
}

function tellWarnings(
  warnings: unknown,
  { id }: PythonEndpointPlan,
  { log }: RuntimeContext,
): void {
  for (const text of Array.isArray(warnings) ? warnings : []) {
    log('warn', { endpoint: id }, String(text))
  }
}
