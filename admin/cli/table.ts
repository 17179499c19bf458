/** Every command of the program, in the order of its help. */

import type { OptionRow as Setting } from '../../core/config/option-row.ts'
import { OPTIONS } from '../../core/config/options.ts'
import { BUILD_COMMAND } from './bundle/build.ts'
import { CHECK_COMMAND } from './bundle/check.ts'
import { INIT_COMMAND } from './bundle/init.ts'
import type { CommandRow } from './command.ts'
import { completionScript, SHELLS } from './completion.ts'
import { wrongUsage } from './failures.ts'
import { GENERATION_COMMANDS } from './generations.ts'
import { KEY_COMMANDS } from './keys.ts'
import { LOCAL_COMMANDS } from './local-commands.ts'
import { NODE_COMMANDS } from './node.ts'
import { PREDICT_COMMAND } from './predict.ts'
import { PROFILE_COMMANDS } from './profile-commands.ts'
import { SERVICE_COMMANDS } from './services.ts'

/** The entry of the program starts the node before it reads this table: the row is for help. */
const SERVE: CommandRow = {
  name: 'serve',
  about: 'starts the node; the same as no command at all',
  isPlain: true,
  options: Object.values<Setting>(OPTIONS).flatMap(({ flag, help, kind }) =>
    flag === null
      ? []
      : [{ name: kind === 'boolean' ? `--${flag}` : `--${flag} <${kind}>`, about: help }],
  ),
  examples: ['serve --home ./data', 'serve --help'],
  run: async () => {
    throw wrongUsage('serve comes first: switchyard serve --home ./data')
  },
}

const COMPLETION: CommandRow = {
  name: 'completion',
  about: 'prints the completion script of a shell',
  details: `In bash: source <(switchyard completion bash), in ~/.bashrc for good.
In zsh the same with zsh, in ~/.zshrc behind compinit.
In fish: switchyard completion fish | source, in ~/.config/fish/config.fish.`,
  args: [{ name: '<shell>', about: SHELLS.join(', '), choices: SHELLS }],
  isPlain: true,
  examples: ['completion bash', 'completion fish'],
  run: async ({ shell, args: [name] }) => {
    const known = SHELLS.find((one) => one === name)
    if (known === undefined) throw wrongUsage(`${name}: the shells are ${SHELLS.join(', ')}`)
    shell.out(completionScript(known, commands()))
  },
}

export function commands(): readonly CommandRow[] {
  return [
    SERVE,
    ...SERVICE_COMMANDS,
    ...GENERATION_COMMANDS,
    ...KEY_COMMANDS,
    PREDICT_COMMAND,
    ...NODE_COMMANDS,
    INIT_COMMAND,
    CHECK_COMMAND,
    BUILD_COMMAND,
    ...PROFILE_COMMANDS,
    COMPLETION,
    ...LOCAL_COMMANDS,
  ]
}
