/** Asks about files of a bundle that is being made, and shows how far that is. */

import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { messageOf } from '../../../core/base/errors.ts'
import type { Config } from '../../../core/config/config.ts'
import type { Draft, DraftRequest } from '../../../workers/protocol.ts'
import { askDraft } from '../../bundle/draft-client.ts'
import type { Shell } from '../command.ts'
import { wrongUsage } from '../failures.ts'
import { Progress } from '../progress.ts'
import { toolsOf } from './forging.ts'

export interface Drafting {
  readonly shell: Shell
  readonly config: Pick<Config, 'forgeMemoryBytes' | 'forgeMs'>
}

/** `file`: what is read, absolute; null: a text, which is called `subject`. */
export async function draftOf<Kind extends Draft['kind']>(
  { shell, config }: Drafting,
  request: Extract<DraftRequest, { kind: Kind }>,
  subject: { readonly file: string } | { readonly name: string },
): Promise<Extract<Draft, { kind: Kind }>> {
  const progress = new Progress(shell)
  try {
    return await askDraft<Kind>(request, {
      tools: toolsOf(shell),
      entry: shell.draftEntry,
      subject: 'file' in subject ? basename(subject.file) : subject.name,
      bytes: 'file' in subject ? await sizeOfFile(subject.file, subject.file) : 0,
      memoryBytesMin: config.forgeMemoryBytes,
      timeMs: config.forgeMs,
      onProgress: (label, done) => progress.show(label, done, done === null ? null : 1),
    })
  } finally {
    progress.end()
  }
}

export async function sizeOfFile(path: string, from: string): Promise<number> {
  const facts = await stat(path).catch((error: unknown) => {
    throw wrongUsage(`${from} cannot be read: ${messageOf(error)}`)
  })
  if (facts.isFile()) return facts.size
  throw wrongUsage(`${from} is no file`)
}
