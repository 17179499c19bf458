/**
 * Goal: whatever a file does to the process that looks into it, the command gets a sentence.
 * Method: a child that crashes, one that does not exist, and one that is given too little time.
 */

import { tmpdir } from 'node:os'
import t from 'tap'
import { askDraft, type DraftOptions } from '../../../admin/bundle/draft-client.ts'
import { compiled } from '../../../bench/paths.ts'
import { LIMITS } from '../../../core/config/limits.ts'
import type { DraftRequest } from '../../../workers/protocol.ts'

const REQUEST: Extract<DraftRequest, { kind: 'columns' }> = { kind: 'columns', file: '/m.csv' }

function options(over: Partial<DraftOptions>): DraftOptions {
  const env = { PATH: process.env['PATH'], TMPDIR: tmpdir() }
  return {
    tools: { prlimit: null, setpriv: null, env, cores: 2 },
    entry: compiled('workers/drafts/main.ts'),
    subject: 'm.onnx',
    bytes: 0,
    memoryBytesMin: LIMITS.forgeMemoryBytesMin,
    timeMs: 60_000,
    onProgress: () => {},
    ...over,
  }
}

t.test('a crash is told with what went on and the last words', async (t) => {
  const labels: string[] = []
  const crash = options({
    entry: compiled('test/tools/abort-child.ts'),
    onProgress: (label) => labels.push(label),
  })
  await t.rejects(askDraft(REQUEST, crash), {
    code: 'ERR_MODEL_REFUSED',
    message: /looked into m\.onnx aborted \(SIGABRT\) while loading m\.onnx; .*native code gave up/,
  })
  t.same(labels, ['loading m.onnx'])
})

t.test('a child that cannot begin, or has no time, is told', async (t) => {
  await t.rejects(askDraft(REQUEST, options({ entry: compiled('test/tools/absent.ts') })), {
    message: /looked into m\.onnx ended \(code 1\) before it began; its last words: .*absent/,
  })
  await t.rejects(askDraft(REQUEST, options({ timeMs: 1 })), {
    code: 'ERR_MODEL_LIMITS',
    message: /did not finish within 0 s: ended before it began/,
  })
})
