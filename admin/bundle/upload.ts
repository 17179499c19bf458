/**
 * A bundle on its way from the network to a file in staging: streamed with back-pressure, bounded,
 * flushed. Memory stays flat whatever the size, and a caller who leaves takes the file with him.
 */

import { createWriteStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import type { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import busboy from 'busboy'
import { AppError, messageOf } from '../../core/base/errors.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { syncPath } from '../store/files.ts'
import { diskFailure } from '../store/space.ts'

/** The form field that carries the archive. */
const FIELD = 'file'

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
}

/** Writes the archive to `path`; on any failure nothing is left there. */
export async function receiveUpload(source: UploadSource, path: string): Promise<Upload> {
  try {
    const upload = await receive(source, path)
    await syncPath(path)
    return upload
  } catch (error) {
    await rm(path, { force: true })
    // Whatever followed from it, nobody is there to be told: no bug, and no news for the log.
    if (source.stream.errored !== null) throw invalid('the upload ended before its end')
    throw diskFailure(error)
  }
}

function receive(source: UploadSource, path: string): Promise<Upload> {
  const kind = source.contentType.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  if (kind === 'multipart/form-data') return receiveForm(source, path)
  if (RAW_KINDS.includes(kind)) return receiveRaw(source.stream, path)
  const wanted = `multipart/form-data with a field "${FIELD}", or application/zip`
  throw new AppError('ERR_BODY_TYPE', `send ${wanted}`)
}

async function receiveRaw(stream: Readable, path: string): Promise<Upload> {
  let bytes = 0
  async function* bounded(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      bytes += chunk.length
      if (bytes > LIMITS.bundleBytesMax) throw tooLarge()
      yield chunk
    }
  }
  await pipeline(chunksOf(stream), bounded, createWriteStream(path, { mode: 0o600, flags: 'wx' }))
  if (bytes === 0) throw invalid('the body is empty; send the ZIP archive')
  return { fileName: null }
}

async function receiveForm(source: UploadSource, path: string): Promise<Upload> {
  const parser = parserOf(source.contentType)
  const form = new FormReader(path, parser)
  parser.on('file', (name, stream, info) => form.onFile(name, stream, info.filename))
  parser.on('field', (name) => form.refuse(unexpected(name)))
  parser.on('filesLimit', () => form.refuse(invalid('send one file only')))
  try {
    await pipeline(chunksOf(source.stream), parser)
  } catch (error) {
    form.refuse(invalid(messageOf(error)))
  }
  return form.finish()
}

/**
 * The request, piece by piece, in a form that a failing pipeline does not destroy: that would cut
 * the connection before the caller has read what was wrong.
 */
function chunksOf(stream: Readable): AsyncIterable<Buffer> {
  return stream.iterator({ destroyOnReturn: false })
}

/** Follows one form; the first fault counts and ends it. */
class FormReader {
  readonly #path: string
  readonly #parser: Writable
  #writing: Promise<void> | null = null
  #fileName: string | null = null
  #fault: unknown = null

  constructor(path: string, parser: Writable) {
    this.#path = path
    this.#parser = parser
  }

  onFile(name: string, stream: FormFile, fileName: string | undefined): void {
    // Refusing ends the parser, and that ends this stream with an error of its own.
    stream.on('error', () => {})
    if (name !== FIELD) {
      this.refuse(unexpected(name))
      return
    }
    this.#fileName = fileName === undefined || fileName === '' ? null : fileName
    const target = createWriteStream(this.#path, { mode: 0o600, flags: 'wx' })
    this.#writing = pipeline(stream, target).then(
      () => {
        if (stream.truncated === true) this.refuse(tooLarge())
      },
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

/** What busboy hands out: `truncated` once the file was cut at its limit. */
type FormFile = Readable & { truncated?: boolean }

function parserOf(contentType: string): busboy.Busboy {
  try {
    return busboy({
      headers: { 'content-type': contentType },
      limits: { files: 1, fields: 8, fileSize: LIMITS.bundleBytesMax },
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
