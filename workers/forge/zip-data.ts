/**
 * Writes the data of one entry to a file of its own, in pieces, so that memory stays flat whatever
 * the size. The entry's promises are kept to the byte: writing stops before the declared size would
 * be passed, and a file that comes out shorter, or with another checksum, is damaged.
 */

import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { pipeline, Readable } from 'node:stream'
import { crc32, createInflateRaw } from 'node:zlib'
import { messageOf } from '../../core/base/errors.ts'
import { DEFLATED, type Part } from './zip-entry.ts'

const CHUNK_BYTES = 128 * 1024

export type WriteResult =
  | { readonly kind: 'written'; readonly sha256: string }
  | { readonly kind: 'damaged'; readonly reason: string }

interface FileTarget {
  readonly path: string
  /** Told after each piece how many bytes it had. */
  onBytes(count: number): void
}

export async function writeFile(
  archive: FileHandle,
  part: Part,
  target: FileTarget,
): Promise<WriteResult> {
  // `wx` makes a new file or fails: nothing that is there already is written to or followed.
  const file = await open(target.path, 'wx', 0o600)
  try {
    return await copyChecked(archive, part, async (chunk) => {
      await file.appendFile(chunk)
      target.onBytes(chunk.length)
    })
  } finally {
    await file.close()
  }
}

async function copyChecked(
  archive: FileHandle,
  part: Part,
  write: (chunk: Buffer) => Promise<void>,
): Promise<WriteResult> {
  const { entry } = part
  const hash = createHash('sha256')
  const source = openData(archive, part)
  let bytes = 0
  let checksum = 0
  try {
    for await (const chunk of source.chunks) {
      bytes += chunk.length
      if (bytes > entry.bytes)
        return damaged(`it is longer than the ${entry.bytes} bytes it declares`)
      checksum = crc32(chunk, checksum)
      hash.update(chunk)
      await write(chunk)
    }
  } catch (error) {
    if (!isBadData(error)) throw error
    return damaged(`its compressed data is damaged (${messageOf(error)})`)
  }
  if (bytes < entry.bytes) return damaged(`it is shorter than the ${entry.bytes} bytes it declares`)
  if (source.usedBytes() !== entry.packedBytes) {
    return damaged('bytes follow the end of its compressed data')
  }
  if (checksum !== entry.crc32) return damaged('its CRC-32 is wrong')
  return { kind: 'written', sha256: hash.digest('hex') }
}

function damaged(reason: string): WriteResult {
  return { kind: 'damaged', reason }
}

interface DataSource {
  readonly chunks: AsyncIterable<Buffer>
  /** Bytes of packed data that were needed, once all chunks are read. */
  usedBytes(): number
}

function openData(archive: FileHandle, { entry, data }: Part): DataSource {
  const packed = readRange(archive, data.start, data.end)
  if (entry.method !== DEFLATED) return { chunks: packed, usedBytes: () => entry.packedBytes }
  // One byte of room more than declared, so that a longer file shows itself in the first piece.
  const chunkSize = Math.max(64, Math.min(CHUNK_BYTES, entry.bytes + 1))
  const inflate = createInflateRaw({ chunkSize })
  // A failure reaches whoever iterates over `inflate`; leaving the loop early ends the reading.
  pipeline(Readable.from(packed), inflate, () => {})
  return { chunks: inflate, usedBytes: () => inflate.bytesWritten }
}

async function* readRange(archive: FileHandle, start: number, end: number) {
  for (let at = start; at < end; ) {
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - at))
    const { bytesRead } = await archive.read(chunk, 0, chunk.length, at)
    if (bytesRead === 0) throw new RangeError('the archive ended early')
    yield chunk.subarray(0, bytesRead)
    at += bytesRead
  }
}

/** What zlib says of data that is no deflate stream, or of one that is cut short. */
function isBadData(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'Z_DATA_ERROR' || code === 'Z_BUF_ERROR' || code === 'Z_NEED_DICT'
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : null
}
