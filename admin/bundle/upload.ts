/**
 * A bundle on its way from the network to a file in staging: streamed with back-pressure, bounded.
 * Memory stays flat whatever the size, and a caller who leaves takes the file with him.
 *
 * The file is not flushed: a start after a crash empties staging, and what is unpacked from it is
 * held against checksums. Flushing gigabytes that are removed a moment later only keeps the disk
 * from those who need it.
 */

import { createWriteStream, type WriteStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import type { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import busboy from 'busboy'
import { AppError, messageOf } from '../../core/base/errors.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { diskFailure } from '../store/space.ts'
import { within } from './within.ts'

/** The form field that carries the archive. */
const FIELD = 'file'

/** Few large writes; what waits to be written is all that is ever held of an upload. */
const WRITE_BYTES = 1024 * 1024

/** The last is what `curl --data-binary` calls all it sends; a ZIP is never a form of that kind. */
const RAW_KINDS = [
  '',
  'application/zip',
  'application/x-zip-compressed',
  'application/octet-stream',
  'application/x-www-form-urlencoded',
]

export interface Upload {
  /** Name of the sender's file; null when it was not told. */
  readonly fileName: string | null
}

export interface UploadSource {
  readonly stream: Readable
  readonly contentType: string
  /** Longest silence of the caller while more is waited for; then ERR_REQUEST_TIMEOUT. */
  readonly idleMs: number
  /** Ends it with the reason of this signal. */
  readonly signal: AbortSignal
}

/** What is told while the upload goes on; what these throw ends it. */
export interface UploadListener {
  onFileName(fileName: string): void
  /** Bytes so far, of a form those around the file too. */
  onBytes(bytes: number): void
}

interface Reception {
  readonly source: UploadSource
  readonly path: string
  readonly listener: UploadListener
}

/** Writes the archive to `path`; on any failure nothing is left there. */
export async function receiveUpload(
  source: UploadSource,
  path: string,
  listener: UploadListener,
): Promise<Upload> {
  try {
    return await receive({ source, path, listener })
  } catch (error) {
    await rm(path, { force: true })
    // Whatever followed from it, nobody is there to be told: no bug, and no news for the log.
    if (source.stream.errored !== null) throw invalid('the upload ended before its end')
    throw diskFailure(error)
  }
}

export function isForm(contentType: string): boolean {
  return kindOf(contentType) === 'multipart/form-data'
}

function kindOf(contentType: string): string {
  return contentType.split(';', 1)[0]?.trim().toLowerCase() ?? ''
}

function receive(reception: Reception): Promise<Upload> {
  const { contentType } = reception.source
  if (isForm(contentType)) return receiveForm(reception)
  if (RAW_KINDS.includes(kindOf(contentType))) return receiveRaw(reception)
  const wanted = `multipart/form-data with a field "${FIELD}", or application/zip`
  throw new AppError('ERR_BODY_TYPE', `send ${wanted}`)
}

async function receiveRaw(reception: Reception): Promise<Upload> {
  let bytes = 0
  async function* bounded(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      bytes += chunk.length
      if (bytes > LIMITS.bundleBytesMax) throw tooLarge()
      yield chunk
    }
  }
  await pipeline(chunksOf(reception), bounded, targetOf(reception))
  if (bytes === 0) throw invalid('the body is empty; send the ZIP archive')
  return { fileName: null }
}

function targetOf({ path }: Reception): WriteStream {
  return createWriteStream(path, { mode: 0o600, flags: 'wx', highWaterMark: WRITE_BYTES })
}

async function receiveForm(reception: Reception): Promise<Upload> {
  const parser = parserOf(reception.source.contentType)
  const form = new FormReader(reception, parser)
  parser.on('file', (name, stream, info) => form.onFile(name, stream, info.filename))
  parser.on('field', (name) => form.refuse(unexpected(name)))
  parser.on('filesLimit', () => form.refuse(invalid('send one file only')))
  try {
    await pipeline(chunksOf(reception), parser)
  } catch (error) {
    form.refuse(error instanceof AppError ? error : invalid(messageOf(error)))
  }
  return form.finish()
}

/**
 * The request, piece by piece, in a form that a failing pipeline does not destroy: that would cut
 * the connection before the caller has read what was wrong.
 */
async function* chunksOf({ source, listener }: Reception): AsyncGenerator<Buffer> {
  const { idleMs: limitMs, signal } = source
  const chunks = source.stream.iterator({ destroyOnReturn: false })
  const late = () => {
    const seconds = Math.round(limitMs / 100) / 10
    return new AppError('ERR_REQUEST_TIMEOUT', `nothing of the upload came for ${seconds} s`)
  }
  let bytes = 0
  let waiting = false
  try {
    for (;;) {
      waiting = true
      // Only this waiting counts: a disk that is slow to take what came is not the caller's fault.
      const { done, value } = await within(chunks.next(), { limitMs, late, signal })
      waiting = false
      if (done === true) return
      bytes += value.length
      listener.onBytes(bytes)
      yield value
    }
  } finally {
    // An iterator that waits for a silent caller cannot be ended before the connection is.
    if (!waiting) await chunks.return?.()
  }
}

/** Follows one form; the first fault counts and ends it. */
class FormReader {
  readonly #reception: Reception
  readonly #parser: Writable
  #writing: Promise<void> | null = null
  #fileName: string | null = null
  #fault: unknown = null

  constructor(reception: Reception, parser: Writable) {
    this.#reception = reception
    this.#parser = parser
  }

  onFile(name: string, stream: Readable, fileName: string | undefined): void {
    // Refusing ends the parser, and that ends this stream with an error of its own.
    stream.on('error', () => {})
    if (name !== FIELD) {
      this.refuse(unexpected(name))
      return
    }
    this.#fileName = fileName === undefined || fileName === '' ? null : fileName
    if (this.#fileName !== null) this.#reception.listener.onFileName(this.#fileName)
    // At once: the parser would read and throw away all that follows.
    stream.on('limit', () => this.refuse(tooLarge()))
    this.#writing = pipeline(stream, targetOf(this.#reception)).then(
      () => {},
      (error: unknown) => this.refuse(isOfSystem(error) ? diskFailure(error) : endsEarly()),
    )
  }

  refuse(error: unknown): void {
    if (this.#fault !== null) return
    this.#fault = error
    this.#parser.destroy()
  }

  async finish(): Promise<Upload> {
    await this.#writing
    if (this.#fault !== null) throw this.#fault
    if (this.#writing === null) throw invalid(`the form has no file in a field "${FIELD}"`)
    return { fileName: this.#fileName }
  }
}

function parserOf(contentType: string): busboy.Busboy {
  try {
    return busboy({
      headers: { 'content-type': contentType },
      // Reaching this limit is passing it, even with the last byte.
      limits: { files: 1, fields: 8, fileSize: LIMITS.bundleBytesMax + 1 },
      defParamCharset: 'utf8',
    })
  } catch (error) {
    throw invalid(messageOf(error))
  }
}

/** Of the file that is written; else it is the form that broke off. */
function isOfSystem(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error
}

function endsEarly(): AppError {
  return invalid('the form ends before the end of its file')
}

function unexpected(name: string): AppError {
  if (name === FIELD) return invalid(`field "${FIELD}" holds a text; curl: -F ${FIELD}=@NAME.zip`)
  return invalid(`unexpected form field "${name.slice(0, 64)}"; the archive goes into "${FIELD}"`)
}

function invalid(detail: string): AppError {
  return new AppError('ERR_BUNDLE_INVALID', detail)
}

function tooLarge(): AppError {
  return new AppError('ERR_BUNDLE_TOO_LARGE', `at most ${LIMITS.bundleBytesMax} bytes`)
}
