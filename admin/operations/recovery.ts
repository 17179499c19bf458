/**
 * What a start finds after a crash, put in order: uploads that never ended, directories without a
 * record, records without their files. Everything that is removed, kept aside or refused is named
 * in the log, and one line sums it up.
 *
 * Nothing that lies in the data directory may keep the node from starting: what cannot be read or
 * removed, or was put there by somebody else, is named and left alone.
 */

import { readdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { nowMs } from '../../core/base/clock.ts'
import { messageOf } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'
import { isGenerationId, isServiceId } from '../../core/base/ids.ts'
import type { Logger } from '../../core/base/logger.ts'
import { sizeFault } from '../store/contents.ts'
import type { Home } from '../store/home.ts'
import type { Catalog } from './catalog.ts'
import type { CompiledForms } from './compiled-forms.ts'
import { recoverForms } from './compiling.ts'
import { removeUnused } from './environments.ts'

/** Directories whose files are counted before the node is ready. */
const LOOKED_AT_MAX = 1_000

export interface RecoveryInput {
  readonly home: Home
  readonly catalog: Catalog
  readonly forms: CompiledForms | null
  readonly logger: Logger
  /** The state may know less than was acknowledged; then what it does not know is kept aside. */
  readonly stateIsOlder: boolean
}

/** What was found, for the line that sums it up. */
interface Findings {
  removedFromStaging: number
  removedOrphans: number
  keptAside: number
  leftAlone: number
  quarantined: number
  removedEnvironments: number
  removedForms: number
}

interface Recovery extends RecoveryInput {
  readonly found: Findings
}

export async function recover(input: RecoveryInput): Promise<void> {
  const startMs = nowMs()
  const found = {
    removedFromStaging: 0,
    removedOrphans: 0,
    keptAside: 0,
    leftAlone: 0,
    quarantined: 0,
    removedEnvironments: 0,
    removedForms: 0,
  }
  const recovery = { ...input, found }
  await emptyStaging(recovery)
  await removeOrphans(recovery)
  await quarantineIncomplete(recovery)
  // A state that knows less than it did may not know who needs them.
  if (!input.stateIsOlder)
    found.removedEnvironments = (await removeUnused(input, { unfinished: true })).length
  const { catalog, forms, logger } = input
  if (forms !== null) found.removedForms = await recoverForms(forms, catalog)
  const services = catalog.services()
  const generations = services.reduce((sum, { id }) => sum + catalog.generationCount(id), 0)
  const known = { services: services.length, generations, keys: catalog.keys().length }
  const fields = { ...known, ...found, ms: Math.round(nowMs() - startMs) }
  logger.info(fields, 'the data directory is in order')
}

async function emptyStaging({ home, logger, found }: Recovery): Promise<void> {
  for (const name of await readdir(home.staging)) {
    try {
      await rm(join(home.staging, name), { recursive: true, force: true })
      await failpoint('recover.staging')
      found.removedFromStaging += 1
      logger.warn({ name }, 'removed from staging: it was never finished')
    } catch (error) {
      found.leftAlone += 1
      logger.error({ name, reason: messageOf(error) }, 'cannot be removed from staging')
    }
  }
}

async function removeOrphans(recovery: Recovery): Promise<void> {
  const { home, catalog } = recovery
  for (const serviceId of await directoriesIn(recovery, home.generations, isServiceId)) {
    const folder = join(home.generations, serviceId)
    for (const generationId of await directoriesIn(recovery, folder, isGenerationId)) {
      if (catalog.findGeneration(serviceId, generationId) !== null) continue
      await removeOrphan(recovery, serviceId, generationId)
    }
    // Not when something was left alone in it.
    if (catalog.generationCount(serviceId) === 0) await rmdir(folder).catch(() => {})
  }
}

/** Names of the directories that may be ours; the others are told of, never touched. */
async function directoriesIn(
  { logger, found }: Recovery,
  folder: string,
  isOurs: (name: string) => boolean,
): Promise<string[]> {
  const names: string[] = []
  const leave = (path: string, reason: string): void => {
    found.leftAlone += 1
    logger.warn({ path, reason }, 'left alone: it is not of this node')
  }
  try {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      if (!entry.isDirectory()) leave(join(folder, entry.name), 'it is no directory')
      else if (!isOurs(entry.name)) leave(join(folder, entry.name), 'no id has such a name')
      else names.push(entry.name)
    }
  } catch (error) {
    leave(folder, messageOf(error))
  }
  return names
}

async function removeOrphan(
  { home, logger, found, stateIsOlder }: Recovery,
  serviceId: string,
  generationId: string,
): Promise<void> {
  try {
    if (stateIsOlder) {
      const path = await home.setAside(serviceId, generationId)
      found.keptAside += 1
      logger.warn({ serviceId, generationId, path }, 'kept aside: the state does not know it')
      return
    }
    await home.discard(home.directoryOf(serviceId, generationId))
    await failpoint('recover.orphan')
    found.removedOrphans += 1
    logger.warn({ serviceId, generationId }, 'removed a directory that no record knows')
  } catch (error) {
    found.leftAlone += 1
    const reason = messageOf(error)
    logger.error({ serviceId, generationId, reason }, 'a directory that no record knows stays')
  }
}

/** What receives traffic comes first; where there is more, the rest is looked at when all is up. */
async function quarantineIncomplete({ home, catalog, logger, found }: Recovery): Promise<void> {
  const records = catalog.services().flatMap(({ id, mapping }) => {
    const isMapped = (one: string) => mapping.some(({ generationId }) => generationId === one)
    return catalog.generations(id).map((record) => ({ record, isMapped: isMapped(record.id) }))
  })
  records.sort((a, b) => Number(b.isMapped) - Number(a.isMapped))
  for (const { record } of records.slice(0, LOOKED_AT_MAX)) {
    const { serviceId, id: generationId } = record
    const fault = await sizeFault(home.directoryOf(serviceId, generationId), record)
    if (fault === null) continue
    const reason = `${fault}; import the bundle again`
    catalog.quarantine(serviceId, generationId, reason)
    found.quarantined += 1
    logger.error({ serviceId, generationId, reason }, 'a generation cannot be used')
  }
}
