/**
 * Data directories with many services, made in seconds: one service is imported as any operator
 * would, backed up, multiplied inside the back-up, and restored by the product's own command, which
 * reads every file and record before it accepts them.
 */

import { execFile } from 'node:child_process'
import { cp, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { directoryIn, finishBackup, readBackup } from '../../admin/cli/backup-files.ts'
import { documentOf, openDocument } from '../../admin/store/checked-document.ts'
import { startBareNode, upload } from '../bare-node.ts'
import { compiled } from '../paths.ts'

const run = promisify(execFile)

const ORIGINAL = 'original'
const GENERATION = 'v1'

/** The service with this number. */
export function serviceName(index: number): string {
  return `service-${String(index).padStart(4, '0')}`
}

/** Makes a back-up of one service, to be multiplied. */
export async function makeOriginal(folder: string, archive: string): Promise<string> {
  const home = join(folder, 'original')
  const node = await startBareNode({ home })
  try {
    await node.admin('/services', { serviceId: ORIGINAL })
    await upload(node.admin, ORIGINAL, archive)
  } finally {
    await node.stop()
  }
  const target = join(folder, 'original-backup')
  await command(['backup', target, '--home', home])
  return target
}

/**
 * Path of a data directory with so many services, each with an active generation, in a folder of
 * the caller's.
 */
export async function manyServices(
  folder: string,
  original: string,
  services: number,
): Promise<string> {
  const name = `${services}-services`
  const target = join(folder, `${name}-backup`)
  await multiply(original, target, services)
  const home = join(folder, name)
  await command(['restore', target, '--home', home])
  return home
}

async function command(args: readonly string[]): Promise<void> {
  await run(process.execPath, [compiled('core/main.ts'), ...args])
}

async function multiply(source: string, target: string, services: number): Promise<void> {
  const { createdOn, generations } = await readBackup(source)
  const opened = openDocument(await readFile(join(source, 'state.json'), 'utf8'))
  if (opened.kind === 'bad') throw new Error(`the state of the back-up: ${opened.reason}`)
  const { records, ...rest } = opened.body
  const names = Array.from({ length: services }, (_, i) => serviceName(i))
  const all = names.map((serviceId) => recordsOf(records, serviceId))
  const from = directoryIn(source, { serviceId: ORIGINAL, generationId: GENERATION })
  for (const serviceId of names) {
    await cp(from, directoryIn(target, { serviceId, generationId: GENERATION }), {
      recursive: true,
    })
  }
  const body = { ...rest, records: Object.assign({}, ...all) }
  await finishBackup(target, documentOf(body), {
    createdOn,
    skipped: [],
    generations: names.flatMap((serviceId) => generations.map((one) => ({ ...one, serviceId }))),
  })
}

/** The records of the one service under another name, with its generation active. */
function recordsOf(records: unknown, serviceId: string): object {
  const mapping = [{ generationId: GENERATION, proba: 1 }]
  return Object.fromEntries(
    Object.entries(records ?? {}).map(([key, value]) => {
      const renamed = JSON.parse(
        JSON.stringify(value).replaceAll(`"${ORIGINAL}"`, `"${serviceId}"`),
      )
      const isService = key === `service/${ORIGINAL}`
      const record = isService ? { ...renamed, mapping } : renamed
      return [key.replace(`/${ORIGINAL}`, `/${serviceId}`), record]
    }),
  )
}
