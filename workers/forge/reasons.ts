/**
 * Makes one clear line of what ONNX Runtime says: its messages span lines and hold paths of this
 * machine and of the one that compiled it, which help no author of a bundle.
 */

import { messageOf } from '../../core/base/errors.ts'
import { withoutPaths } from '../messages.ts'

const REASON_MAX = 400

/** Source file, line and C++ signature of where the runtime threw; the file may be cut already. */
const SOURCE_PLACE =
  /(?:\S*onnxruntime_src\/\S+|…\S*) (?:[^\s()]+ )*?onnxruntime::[^\n]*?\)(?: const)?(?=[ ,:\n]|$)/g
const FAILED_NODE =
  /Non-zero status code returned while running (\S+) node\. Name:'[^']*' Status Message: /g

/** What skl2onnx makes of a table with columns of float64 beside encoded texts. */
const MIXED_FLOATS =
  /bound to different types \(tensor\((float|double)\) and tensor\((float|double)\)/
const ONE_FLOAT = 'It mixes float32 and float64: export it with all number inputs as float32'

export function shortReason(thrown: unknown): string {
  const said = messageOf(thrown)
    .replace(/^Load model from .*? failed: ?/s, '')
    .replace(FAILED_NODE, '$1 node: ')
    .replace(SOURCE_PLACE, '')
  const line = withoutPaths(said).replace(/\s+/g, ' ').trim()
  return line.length > REASON_MAX ? `${line.slice(0, REASON_MAX - 1)}…` : line
}

/** Why a file could not be opened as a model. */
export function loadReason(model: string, thrown: unknown): string {
  const reason = shortReason(thrown)
  const foreign = /protobuf parsing failed|does not have a graph|INVALID_PROTOBUF/i.test(reason)
  if (foreign) return `${model} is not an ONNX model: ${reason}`
  const hint = MIXED_FLOATS.test(reason) ? ` ${ONE_FLOAT}` : ''
  return `${model} cannot be loaded: ${reason}${hint}`
}

/** True when the runtime ran into the memory limit of this process. */
export function isOutOfMemory(thrown: unknown): boolean {
  const message = messageOf(thrown)
  return /bad_alloc|failed to allocate memory|allocation failed|out of memory/i.test(message)
}
