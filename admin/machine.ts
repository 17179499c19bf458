/**
 * What a compiled form of a model depends on beside the model: ONNX Runtime and the processor whose
 * instructions it was packed for. The graph is laid out for them, so a form of another machine is
 * never loaded.
 */

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus } from 'node:os'
import { REPAIR_VERSION } from '../core/bundle/compiled.ts'

/** Null: the version of ONNX Runtime is not known. */
export function machineHash(): string | null {
  const runtime = runtimeVersion()
  if (runtime === null) return null
  const { platform, arch } = process
  const facts = [runtime, REPAIR_VERSION, platform, arch, ...processor()]
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex')
}

/** As package.json has it: loading the library itself would take its memory. */
function runtimeVersion(): string | null {
  try {
    const path = createRequire(import.meta.url).resolve('onnxruntime-node/package.json')
    const { version } = JSON.parse(readFileSync(path, 'utf8'))
    return typeof version === 'string' ? version : null
  } catch {
    return null
  }
}

/** Name and instructions of the first core; they are all alike. */
function processor(): string[] {
  const lines = cpuinfo().split('\n')
  const found = ['model name', 'flags', 'Features', 'CPU part'].flatMap((name) => {
    const line = lines.find((one) => one.startsWith(`${name}\t`) || one.startsWith(`${name} `))
    return line === undefined ? [] : [line.replace(/\s+/g, ' ')]
  })
  return found.length > 0 ? found : [cpus()[0]?.model ?? '']
}

function cpuinfo(): string {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8')
  } catch {
    return ''
  }
}
