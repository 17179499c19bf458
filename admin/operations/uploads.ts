/**
 * An upload becomes an import: on the board from its first byte, refused before that where it
 * cannot fit, and gone from the disk however it ends.
 */

import { rm } from 'node:fs/promises'
import { AppError } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { isForm, receiveUpload, type UploadSource } from '../bundle/upload.ts'
import type { GenerationRecord } from '../store/records.ts'
import type { Context } from './context.ts'
import type { ImportTask } from './import-board.ts'
import { checkId, importArchive, namedId } from './imports.ts'

/** How far ahead of an upload of unknown size there must be room. */
const STEP_BYTES = 64 * 1024 * 1024

export interface Incoming {
  readonly serviceId: string
  /** `?generationId=`; null: the manifest or the file name says it. */
  readonly generationId: string | null
  readonly contentType: string
  /** Of a file on the node's disk; absent: a form may tell it. */
  readonly fileName?: string
  /** Content-Length; null: the caller did not say. */
  readonly declaredBytes: number | null
  /** Starts the body; not called for an upload that is refused before its first byte. */
  readonly open: () => UploadSource['stream']
  /** Id of the admin key, for the journal. */
  readonly actor: string
}

/** Everything before its first await happens at once, as the stream of an exchange wants it. */
export async function uploadGeneration(
  context: Context,
  incoming: Incoming,
): Promise<GenerationRecord> {
  const { serviceId, generationId, fileName = null } = incoming
  context.catalog.service(serviceId)
  checkId(generationId)
  checkSize(incoming)
  const name = namedId(generationId, fileName)
  const start = { serviceId, generationId: name, phase: 'receiving' } as const
  return context.imports.run(start, (task) => receiveAndImport(context, incoming, task))
}

function checkSize({ declaredBytes, contentType }: Incoming): void {
  const bytesMax = LIMITS.bundleBytesMax + (isForm(contentType) ? LIMITS.formBytesMax : 0)
  if (declaredBytes === null || declaredBytes <= bytesMax) return
  throw new AppError('ERR_BUNDLE_TOO_LARGE', `at most ${LIMITS.bundleBytesMax} bytes`)
}

async function receiveAndImport(
  context: Context,
  incoming: Incoming,
  task: ImportTask,
): Promise<GenerationRecord> {
  const { serviceId, generationId, contentType, declaredBytes, actor } = incoming
  const onBytes = spaceFor(task, declaredBytes)
  const archivePath = context.home.stagingPath('upload')
  try {
    const { uploadIdleMs: idleMs, imports } = context
    const { stopping: signal } = imports
    const source = { stream: incoming.open(), contentType, idleMs, signal }
    const received = await receiveUpload(source, archivePath, {
      onFileName: (name) => {
        task.generationId = namedId(generationId, name)
      },
      onBytes,
    })
    await failpoint('upload.received')
    const fileName = received.fileName ?? incoming.fileName ?? null
    const request = { serviceId, archivePath, generationId, fileName, actor, temporary: true }
    return await importArchive(context, request, task)
  } finally {
    await rm(archivePath, { force: true })
  }
}

/** Room for the archive and for about as much unpacked; returns what follows the bytes. */
function spaceFor(task: ImportTask, declaredBytes: number | null): (bytes: number) => void {
  let expectedBytes = declaredBytes ?? STEP_BYTES
  task.space.claim(2 * expectedBytes)
  task.received(0, declaredBytes)
  return (bytes) => {
    task.received(bytes, declaredBytes)
    task.space.remaining(2 * expectedBytes - bytes)
    if (declaredBytes !== null || bytes < expectedBytes) return
    expectedBytes = bytes + STEP_BYTES
    task.space.claim(2 * expectedBytes - bytes)
  }
}
