/**
 * `backup` and `restore`: they work on the data directory itself, which they take from the same
 * settings as the node, so that both speak of the same one. Their code is loaded when they run: it
 * brings the store with it, which no other command needs.
 */

import type { Call, CommandRow, OptionRow } from './command.ts'
import { nodeSettings } from './settings.ts'

const OPTIONS: readonly OptionRow[] = [
  { name: '--home <directory>', about: 'data directory (SWITCHYARD_HOME, default: ./data)' },
  {
    name: '--config <file>',
    about: 'JSON file with settings, as for the node (SWITCHYARD_CONFIG)',
  },
]

const DIRECTORY = { name: '<directory>', about: 'where the back-up is' }

export const LOCAL_COMMANDS: readonly CommandRow[] = [
  {
    name: 'backup',
    about: 'copies state and bundles of a node, running or not, into a new directory',
    details: 'The data directory stays as it is. The answer is one line of JSON.',
    args: [DIRECTORY],
    options: [
      ...OPTIONS,
      {
        name: '--skip-damaged',
        about: 'leave out generations whose files are damaged, and say which',
      },
    ],
    examples: ['backup /backups/monday', 'backup /backups/monday --home /var/lib/switchyard'],
    run: async (call) => {
      const { home } = nodeSettings(call.shell, call.flags, ['home', 'config'])
      const [target = ''] = call.args
      const skipDamaged = call.flags.isSet('skipDamaged')
      const { backup } = await import('./backup.ts')
      print(call, 'backup', await backup({ home, target, skipDamaged, say: sayOf(call) }))
    },
  },
  {
    name: 'restore',
    about: 'makes a new data directory out of a back-up; the node must not run',
    details:
      'Run by root, it gives the files to the owner of the directory, or of the one above a\n' +
      'new one. The answer is one line of JSON.',
    args: [DIRECTORY],
    options: OPTIONS,
    examples: ['restore /backups/monday --home ./data'],
    run: async (call) => {
      const { home } = nodeSettings(call.shell, call.flags, ['home', 'config'])
      const [source = ''] = call.args
      const { restore } = await import('./restore.ts')
      print(call, 'restore', await restore({ home, source, say: sayOf(call) }))
    },
  },
]

function sayOf({ output }: Call): (line: string) => void {
  return (line) => output.say(line)
}

function print({ shell }: Call, event: string, summary: object): void {
  shell.out(`${JSON.stringify({ event, ...summary })}\n`)
}
