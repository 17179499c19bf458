/**
 * What a start finds after a crash, put in order: uploads that never ended, directories without a
 * record, records without their files. Everything that is removed is named in the log.
 */

import { readdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from '../../core/base/logger.ts'
import { exists } from '../store/files.ts'
import type { Home } from '../store/home.ts'
import type { GenerationRecord } from '../store/records.ts'
import type { Catalog } from './catalog.ts'

export interface RecoveryInput {
  readonly home: Home
  readonly catalog: Catalog
  readonly logger: Logger
}

export async function recover(input: RecoveryInput): Promise<void> {
  await emptyStaging(input)
  await removeOrphans(input)
  await quarantineIncomplete(input)
}

async function emptyStaging({ home, logger }: RecoveryInput): Promise<void> {
  for (const name of await readdir(home.staging)) {
    logger.warn({ name }, 'removed from staging: it was never finished')
    await rm(join(home.staging, name), { recursive: true, force: true })
  }
}

async function removeOrphans({ home, catalog, logger }: RecoveryInput): Promise<void> {
  for (const serviceId of await readdir(home.generations)) {
    const folder = join(home.generations, serviceId)
    for (const generationId of await readdir(folder)) {
      if (catalog.findGeneration(serviceId, generationId) !== null) continue
      logger.warn({ serviceId, generationId }, 'removed a directory that no record knows')
      await home.discard(join(folder, generationId))
    }
    if (catalog.generationCount(serviceId) === 0) await rmdir(folder)
  }
}

async function quarantineIncomplete({ home, catalog, logger }: RecoveryInput): Promise<void> {
  const records = catalog.services().flatMap(({ id }) => catalog.generations(id))
  for (const record of records) {
    const missing = await missingFile(home, record)
    if (missing === null) continue
    const { serviceId, id: generationId } = record
    const reason = `${missing} is missing on disk; import the bundle again`
    catalog.quarantine(serviceId, generationId, reason)
    logger.error({ serviceId, generationId, reason }, 'a generation cannot be used')
  }
}

async function missingFile(home: Home, record: GenerationRecord): Promise<string | null> {
  const directory = home.directoryOf(record.serviceId, record.id)
  if (!(await exists(directory))) return 'its directory'
  for (const { prediction } of record.plan.endpoints) {
    if (!(await exists(join(directory, prediction.model)))) return `the model ${prediction.model}`
  }
  return null
}
