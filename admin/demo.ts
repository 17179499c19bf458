/**
 * The demo service: a real trained model, imported and switched to by the same operations as an
 * upload, so that the first `curl` of a newcomer goes the way of every other. It is PUBLIC, because
 * its command must work again after a restart, when no secret can be shown any more.
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, messageOf } from '../core/base/errors.ts'
import type { Logger } from '../core/base/logger.ts'
import type { Operations } from './operations/operations.ts'
import type { CurlTarget } from './tls/hints.ts'

const ACTOR = 'node'

/** `demo.json` beside the bundles. */
export interface Demo {
  readonly service: string
  readonly generation: string
  readonly bundle: string
  readonly endpoint: string
  /** Of a prediction. */
  readonly body: object
}

type DemoOperations = Pick<
  Operations,
  'createService' | 'importGeneration' | 'switchTo' | 'getService'
>

/** A node without its demo is a whole node: a failure is a warning and no more. */
export async function importDemo(
  operations: DemoOperations,
  folder: string,
  logger: Logger,
): Promise<void> {
  try {
    const demo = await readDemo(folder)
    await ensureService(operations, demo.service)
    await operations.importGeneration({
      serviceId: demo.service,
      archivePath: join(folder, demo.bundle),
      generationId: demo.generation,
      fileName: demo.bundle,
      actor: ACTOR,
    })
    const ref = { serviceId: demo.service, generationId: demo.generation }
    await operations.switchTo(ref, ACTOR)
    logger.info(ref, 'the demo service is imported')
  } catch (error) {
    logger.warn({ reason: messageOf(error) }, 'the demo service could not be imported')
  }
}

/** The command that calls the demo; null where it is not served. */
export async function demoCurl(
  operations: DemoOperations,
  folder: string,
  query: CurlTarget,
): Promise<string | null> {
  try {
    const demo = await readDemo(folder)
    const { activeGeneration } = operations.getService(demo.service)
    if (activeGeneration !== demo.generation) return null
    const path = `/public/api/v1/${demo.service}/${demo.endpoint}/predict`
    const type = "-H 'Content-Type: application/json'"
    const body = quoted(JSON.stringify(demo.body))
    return `curl${query.options} ${type} ${quoted(query.url + path)} -d ${body}`
  } catch {
    // Deleted, or this installation came without the demo.
    return null
  }
}

async function readDemo(folder: string): Promise<Demo> {
  const demo: Demo = JSON.parse(await readFile(join(folder, 'demo.json'), 'utf8'))
  return demo
}

async function ensureService(operations: DemoOperations, serviceId: string): Promise<void> {
  try {
    await operations.createService(serviceId, ACTOR)
  } catch (error) {
    if (!(error instanceof AppError && error.code === 'ERR_SERVICE_EXISTS')) throw error
  }
}

/** For a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
