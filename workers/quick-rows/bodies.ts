/** The bodies of a batch: read as rows of numbers where they can be, else parsed. */

import { bodyParser, type Parsed } from '../bodies.ts'
import type { BatchJob } from '../protocol.ts'
import type { QuickRows, RowReader } from './row-reader.ts'

/** One entry per body, as parseBodies() gives it, or its rows. They are valid until the next. */
export function quickBodies(job: BatchJob, reader: RowReader): (Parsed | QuickRows)[] {
  const { bytes, ends } = job
  const shape = job.verb === 'single' ? 'row' : 'rows'
  const bodies = new Array<Parsed | QuickRows>(ends.length)
  let parse: ReturnType<typeof bodyParser> | null = null
  reader.clear()
  let start = 0
  for (let i = 0; i < ends.length; i++) {
    const end = ends[i] ?? start
    const rows = reader.read(bytes, { start, end, shape })
    if (rows === null) {
      parse ??= bodyParser(bytes)
      const parsed = parse(start, end)
      if (parsed.kind === 'value') reader.learn(bytes, { start, end, shape })
      bodies[i] = parsed
    } else bodies[i] = rows
    start = end
  }
  return bodies
}
