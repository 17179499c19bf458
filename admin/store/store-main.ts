/**
 * Composition root of the child that opens LMDB files which may be damaged: it looks them over or
 * builds new ones, says in one line of JSON what came of it, and may die of what it reads.
 */

import { rm } from 'node:fs/promises'
import { messageOf } from '../../core/base/errors.ts'
import { build } from './build.ts'
import type { StoreAnswer, StoreTask } from './store-child.ts'
import { tryWriting, walk } from './walk.ts'

async function answer(task: StoreTask): Promise<StoreAnswer> {
  switch (task.kind) {
    case 'walk': {
      const walked = await walk(task.directory)
      if (walked.kind !== 'ok' || task.trial === null) return walked
      const tried = await tryWriting(task.directory, task.trial)
      await rm(task.trial, { recursive: true, force: true })
      return tried.kind === 'damaged' ? tried : walked
    }
    case 'build':
      await build(task)
      return walk(task.directory)
  }
}

process.umask(0o077)
let line: StoreAnswer
try {
  line = await answer(JSON.parse(process.argv[2] ?? '') as StoreTask)
} catch (error) {
  line = { kind: 'damaged', reason: messageOf(error) }
}
process.stdout.write(`${JSON.stringify(line)}\n`)
