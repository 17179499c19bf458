/**
 * The witness: a small file that says which endpoints were inside a run of native code when a
 * serving process died; what only waited for a child or a database is not in it. A crash inside a
 * model leaves no message behind; what the process wrote to a file before it stays with the system,
 * so control can read afterwards who was running.
 *
 * Format: WITNESS_RECORDS records of WITNESS_RECORD_BYTES bytes, ASCII, each a line, so that a
 * person can read it too: "service/generation/endpoint", filled up with spaces, and a line feed. A
 * record that opens with a space is empty. The size of a record divides that of a page, so no
 * record is ever half written: a process is not ended in the middle of copying into one page.
 */

import { isGenerationId, isServiceId } from '../base/ids.ts'

export const WITNESS_RECORD_BYTES = 512
export const WITNESS_RECORDS = 256

const SPACE = 0x20

/** An endpoint that was inside `runs` runs at once. */
export interface Witnessed {
  readonly serviceId: string
  readonly generationId: string
  readonly endpointId: string
  readonly runs: number
}

/** A file in which nothing runs. */
export function emptyWitness(): Uint8Array {
  return Buffer.concat(Array.from({ length: WITNESS_RECORDS }, () => recordOf('')))
}

/** The record of a run; "service/generation/endpoint" always leaves room for the line's end. */
export function recordOf(subject: string): Uint8Array {
  return Buffer.from(`${subject.padEnd(WITNESS_RECORD_BYTES - 1)}\n`, 'latin1')
}

/** Who was running, each endpoint once; records that make no sense are passed over. */
export function readWitness(bytes: Uint8Array): readonly Witnessed[] {
  const found = new Map<string, Witnessed>()
  for (let end = WITNESS_RECORD_BYTES; end <= bytes.length; end += WITNESS_RECORD_BYTES) {
    const record = bytes.subarray(end - WITNESS_RECORD_BYTES, end)
    if (record[0] === SPACE) continue
    const subject = Buffer.from(record).toString('latin1').trimEnd()
    const [serviceId = '', generationId = '', endpointId = '', more] = subject.split('/')
    if (more !== undefined || !isServiceId(serviceId) || !isGenerationId(generationId)) continue
    // Endpoints follow the same rule as services.
    if (!isServiceId(endpointId)) continue
    const runs = (found.get(subject)?.runs ?? 0) + 1
    found.set(subject, { serviceId, generationId, endpointId, runs })
  }
  return [...found.values()]
}
