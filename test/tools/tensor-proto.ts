/** Reads the floats of a TensorProto (onnx.proto): field 9, raw bytes, or field 4, packed. */

export function floatsOf(file: Buffer): number[] {
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 1; ; shift *= 128) {
      const byte = file[at] ?? 0
      at += 1
      value += (byte & 127) * shift
      if (byte < 128) return value
    }
  }
  while (at < file.length) {
    const key = varint()
    if ((key & 7) === 0) varint()
    else {
      const length = varint()
      const bytes = file.subarray(at, at + length)
      at += length
      if (key >> 3 === 9 || key >> 3 === 4) return floats(bytes)
    }
  }
  return []
}

function floats(bytes: Buffer): number[] {
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(i * 4))
}
