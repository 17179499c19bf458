/**
 * Shows how far a node is with what it was asked for, while the answer is waited for: its own words
 * about imports and loads, asked for a few times a second. Only a person at a terminal is shown
 * any, so a script costs the node one request.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { ApiClient } from './client.ts'
import type { Shell } from './command.ts'
import { listOf, numberOf, recordOf, textOf } from './fields.ts'
import { Progress } from './progress.ts'
import { servicePath } from './services.ts'

const ASK_EVERY_MS = 300

interface Waited {
  readonly shell: Shell
  readonly client: ApiClient
  readonly serviceId: string
}

/** Uploads a bundle; its phases are shown when all of it has gone. */
export async function watchedUpload(
  { shell, client, serviceId }: Waited,
  upload: { readonly path: string; readonly file: string; readonly bytes: number },
): Promise<unknown> {
  const progress = new Progress(shell)
  const uploaded = new AbortController()
  const answer = client.upload(upload.path, upload.file, (sent) => {
    progress.show('uploading', sent, upload.bytes)
    if (sent === upload.bytes) uploaded.abort()
  })
  return watched({ progress, answer, begin: uploaded.signal }, async () => {
    const service = recordOf(await client.get(servicePath(serviceId)))
    const task = recordOf(listOf(service['imports']).at(-1))
    const phase = textOf(task['phase'])
    if (phase === null) return
    const detail = textOf(task['detail']) ?? ''
    const label = detail === '' ? phase : `${phase}: ${detail}`
    progress.show(label, numberOf(task['doneBytes']), numberOf(task['totalBytes']))
  })
}

/** A switch or a preload: what the pools of the service say. */
export async function watchedLoad<T>(
  { shell, client, serviceId }: Waited,
  answer: Promise<T>,
): Promise<T> {
  const progress = new Progress(shell)
  const begin = AbortSignal.abort()
  return watched({ progress, answer, begin }, async () => {
    const service = recordOf(await client.get(servicePath(serviceId)))
    const pools = listOf(service['pools']).map(recordOf)
    const loading = pools.find((pool) => pool['state'] === 'loading')
    progress.show(loading === undefined ? 'waiting' : `loading ${textOf(loading['generationId'])}`)
  })
}

interface Watched<T> {
  readonly progress: Progress
  readonly answer: Promise<T>
  readonly begin: AbortSignal
}

async function watched<T>(
  { progress, answer, begin }: Watched<T>,
  look: () => Promise<void>,
): Promise<T> {
  if (!progress.isVisible) return answer
  let ended = false
  const end = (): void => {
    ended = true
  }
  answer.then(end, end)
  try {
    while (!ended) {
      await Promise.race([answer.then(end, end), sleep(ASK_EVERY_MS)])
      // What cannot be shown must not spoil what is being done.
      if (begin.aborted && !ended) await look().catch(() => {})
    }
    return await answer
  } finally {
    progress.end()
  }
}
