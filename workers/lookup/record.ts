/** How one row lies in memory and in a run: length of key, length of value, key, value. */

/** 2 bytes for the key's length, 4 for the value's. */
export const RECORD_HEAD_BYTES = 6

export function writeHead(bytes: Buffer, start: number, key: number, value: number): void {
  bytes.writeUInt16LE(key, start)
  bytes.writeUInt32LE(value, start + 2)
}

export function recordBytes(bytes: Buffer, start: number): number {
  return RECORD_HEAD_BYTES + bytes.readUInt16LE(start) + bytes.readUInt32LE(start + 2)
}

export function keyOf(bytes: Buffer, start: number): Buffer {
  const at = start + RECORD_HEAD_BYTES
  return bytes.subarray(at, at + bytes.readUInt16LE(start))
}
