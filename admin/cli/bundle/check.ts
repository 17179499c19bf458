/** `switchyard bundle check`: what a node would say of a bundle, before it is uploaded. */

import { basename, join } from 'node:path'
import type { Call, CommandRow } from '../command.ts'
import { openWorkshop, TRIAL_OPTIONS, type Trial, tryBundle } from './forging.ts'
import { reportJson, reportText } from './report.ts'
import { withScratch } from './scratch.ts'
import { pack, type Source, sourceOf } from './source.ts'

export const CHECK_COMMAND: CommandRow = {
  name: 'bundle check',
  about: 'tries a bundle as a node does when it is imported, and says all that is wrong',
  details:
    'It is unpacked, loaded and run in a process of its own, under the limits of a node. What\n' +
    'only a node knows (its connections and issuers) is not tried, unless --config names its\n' +
    'config file; the answer says what was left out.',
  args: [{ name: '<bundle>', about: 'archive, or folder with a service.json' }],
  options: TRIAL_OPTIONS,
  examples: ['bundle check v1.zip', 'bundle check wine', 'bundle check v1.zip --config node.json'],
  run: check,
}

async function check(call: Call): Promise<void> {
  const [given = ''] = call.args
  const source = await sourceOf(given)
  await withScratch(async (scratch) => {
    const workshop = await openWorkshop(call, scratch)
    const tried = await tryBundle(call, workshop, await trialOf(call, source, scratch))
    call.output.answer(reportJson(tried), () => reportText(tried))
  })
}

async function trialOf({ shell }: Call, source: Source, scratch: string): Promise<Trial> {
  if (source.kind === 'archive') {
    const { path, bytes } = source
    return { archive: path, archiveBytes: bytes, fileName: basename(path) }
  }
  const target = join(scratch, 'bundle.zip')
  const label = 'reading'
  const bytes = await pack(shell, source.folder.files, { target, compress: false, label })
  // A folder has no generation yet; any id will do.
  return { archive: target, archiveBytes: bytes, fileName: 'v1.zip' }
}
