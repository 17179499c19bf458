/**
 * Writes a ZIP archive of any size to a file, piece by piece, so that a test of big bundles needs
 * no memory of its own. Always in ZIP64 form; sizes and checksums are put into each local header
 * once they are known.
 */

import { type FileHandle, open } from 'node:fs/promises'
import { crc32, createDeflateRaw } from 'node:zlib'
import { zip64Field } from '../../bench/workloads/zip-writer.ts'

export interface StreamedEntry {
  readonly name: string
  readonly chunks: Iterable<Buffer>
  /** Default: stored as it is. */
  readonly deflate?: boolean
}

interface Written {
  readonly name: Buffer
  readonly method: number
  readonly offset: number
  readonly crc32: number
  readonly bytes: number
  readonly packedBytes: number
}

const DEFERRED = 0xffffffff
const LOCAL_BYTES = 30
const RECORD_BYTES = 46

/** Returns the size of the archive. */
export async function writeZip(path: string, entries: Iterable<StreamedEntry>): Promise<number> {
  const file = await open(path, 'wx')
  try {
    const written: Written[] = []
    let at = 0
    for (const entry of entries) {
      const done = await writeEntry(file, entry, at)
      at += headBytes(done.name, 2) + done.packedBytes
      written.push(done)
    }
    const directory = Buffer.concat(written.map(record))
    const tail = Buffer.concat([directory, ...ends(written.length, directory.length, at)])
    await file.write(tail, 0, tail.length, at)
    return at + tail.length
  } finally {
    await file.close()
  }
}

/** Bytes that no compression makes smaller and that differ from file to file. */
export function* noise(bytes: number, seed: number): Generator<Buffer> {
  const block = Buffer.alloc(1024 * 1024)
  let state = (seed * 2_654_435_761 + 1) >>> 0
  for (let i = 0; i < block.length; i += 4) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    block.writeInt32LE(state | 0, i)
  }
  for (let at = 0; at < bytes; at += block.length) {
    block.writeUInt32LE(at / block.length, 0)
    yield Buffer.from(block.subarray(0, Math.min(block.length, bytes - at)))
  }
}

async function writeEntry(file: FileHandle, entry: StreamedEntry, offset: number) {
  const name = Buffer.from(entry.name)
  const method = entry.deflate === true ? 8 : 0
  let checksum = 0
  let bytes = 0
  function* counted(): Generator<Buffer> {
    for (const chunk of entry.chunks) {
      checksum = crc32(chunk, checksum)
      bytes += chunk.length
      yield chunk
    }
  }
  const start = offset + headBytes(name, 2)
  let packedBytes = 0
  for await (const chunk of method === 8 ? deflated(counted()) : counted()) {
    await file.write(chunk, 0, chunk.length, start + packedBytes)
    packedBytes += chunk.length
  }
  const done: Written = { name, method, offset, crc32: checksum, bytes, packedBytes }
  const head = local(done)
  await file.write(head, 0, head.length, offset)
  return done
}

async function* deflated(chunks: Iterable<Buffer>): AsyncGenerator<Buffer> {
  const packer = createDeflateRaw({ level: 1 })
  const feed = async (): Promise<void> => {
    for (const chunk of chunks) {
      if (!packer.write(chunk)) await new Promise((resolve) => packer.once('drain', resolve))
    }
    packer.end()
  }
  const fed = feed()
  yield* packer
  await fed
}

function headBytes(name: Buffer, sizes: number): number {
  return LOCAL_BYTES + name.length + 4 + 8 * sizes
}

function local(entry: Written): Buffer {
  const head = Buffer.alloc(LOCAL_BYTES)
  head.writeUInt32LE(0x04034b50, 0)
  head.writeUInt16LE(45, 4)
  head.writeUInt16LE(0x800, 6)
  head.writeUInt16LE(entry.method, 8)
  head.writeUInt32LE(entry.crc32, 14)
  head.writeUInt32LE(DEFERRED, 18)
  head.writeUInt32LE(DEFERRED, 22)
  head.writeUInt16LE(entry.name.length, 26)
  head.writeUInt16LE(4 + 8 * 2, 28)
  return Buffer.concat([head, entry.name, zip64Field([entry.bytes, entry.packedBytes])])
}

function record(entry: Written): Buffer {
  const extra = zip64Field([entry.bytes, entry.packedBytes, entry.offset])
  const head = Buffer.alloc(RECORD_BYTES)
  head.writeUInt32LE(0x02014b50, 0)
  head.writeUInt16LE((3 << 8) | 45, 4)
  head.writeUInt16LE(45, 6)
  head.writeUInt16LE(0x800, 8)
  head.writeUInt16LE(entry.method, 10)
  head.writeUInt32LE(entry.crc32, 16)
  head.writeUInt32LE(DEFERRED, 20)
  head.writeUInt32LE(DEFERRED, 24)
  head.writeUInt16LE(entry.name.length, 28)
  head.writeUInt16LE(extra.length, 30)
  head.writeUInt32LE(DEFERRED, 42)
  return Buffer.concat([head, entry.name, extra])
}

/** ZIP64 end record, its locator, and the plain end record that refers to them. */
function ends(count: number, directoryBytes: number, directoryOffset: number): Buffer[] {
  const wide = Buffer.alloc(56)
  wide.writeUInt32LE(0x06064b50, 0)
  wide.writeBigUInt64LE(44n, 4)
  wide.writeUInt16LE(45, 12)
  wide.writeUInt16LE(45, 14)
  wide.writeBigUInt64LE(BigInt(count), 24)
  wide.writeBigUInt64LE(BigInt(count), 32)
  wide.writeBigUInt64LE(BigInt(directoryBytes), 40)
  wide.writeBigUInt64LE(BigInt(directoryOffset), 48)
  const locator = Buffer.alloc(20)
  locator.writeUInt32LE(0x07064b50, 0)
  locator.writeBigUInt64LE(BigInt(directoryOffset + directoryBytes), 8)
  locator.writeUInt32LE(1, 16)
  const plain = Buffer.alloc(22)
  plain.writeUInt32LE(0x06054b50, 0)
  plain.writeUInt16LE(0xffff, 8)
  plain.writeUInt16LE(0xffff, 10)
  plain.writeUInt32LE(DEFERRED, 12)
  plain.writeUInt32LE(DEFERRED, 16)
  return [wide, locator, plain]
}
