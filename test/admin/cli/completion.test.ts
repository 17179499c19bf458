/**
 * Goal: the completion scripts offer what there is, in the shells themselves.
 * Method: each script is read by its shell, which is asked what may follow a line; shells that are
 * not installed are left out, bash never is.
 */

import { execFileSync, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { completionScript } from '../../../admin/cli/completion.ts'
import { optionsOf } from '../../../admin/cli/program.ts'
import { commands } from '../../../admin/cli/table.ts'
import { runHere, shellOf } from '../../tools/command-shell.ts'
import { temporaryDirectory } from '../../tools/control-plane.ts'

const folder = temporaryDirectory(t)
const bashFile = join(folder, 'bash')
const fishFile = join(folder, 'fish')
writeFileSync(bashFile, completionScript('bash', commands()))
writeFileSync(fishFile, completionScript('fish', commands()))

/** A line for each: what bash would offer. */
const ASK_BASH = `source '${bashFile}'
complete -p switchyard
while IFS= read -r line; do
  read -ra COMP_WORDS <<< "$line"
  [[ "$line" == *' ' ]] && COMP_WORDS+=('')
  COMP_CWORD=$(( \${#COMP_WORDS[@]} - 1 ))
  _switchyard
  echo "\${COMPREPLY[*]}"
done`

function bash(lines: readonly string[]): string[] {
  const input = lines.map((line) => `${line}\n`).join('')
  const options = { input, encoding: 'utf8', stdio: 'pipe' } as const
  return execFileSync('bash', ['-u', '-c', ASK_BASH], options).split('\n')
}

const LINES: readonly (readonly [string, string])[] = [
  ['switchyard se', 'serve services'],
  ['switchyard generations sw', 'switch switch-to-newest'],
  ['switchyard generations switch', 'switch switch-to-newest'],
  ['switchyard admin-keys ', 'list create delete'],
  ['switchyard services list --j', '--json'],
  ['switchyard keys create --label x --serv', '--service'],
  ['switchyard serve --admin-p', '--admin-port'],
  ['switchyard completion ', 'bash zsh fish --help'],
  ['switchyard predict a/b --verb ', 'predict run query lookup'],
  ['switchyard predict a/b --verb que', 'query'],
  // A value, a file: bash offers files when nothing else is.
  ['switchyard services list --ca ', ''],
  ['switchyard generations import wine ', ''],
  ['switchyard generations import wine --sw', '--switch'],
  ['switchyard backup ', ''],
  ['switchyard nonsense ', ''],
]

t.test('bash is offered words, options and values', async (t) => {
  const [registered, ...offered] = bash(LINES.map(([line]) => line))
  t.equal(registered, 'complete -o default -F _switchyard switchyard')
  for (const [i, [line, words]] of LINES.entries()) t.equal(offered[i], words, `"${line}"`)
})

t.test('bash is offered every command and every option', async (t) => {
  const rows = commands()
  const [, ...offered] = bash(
    rows.flatMap(({ name }) => [`switchyard ${name}`, `switchyard ${name} -`]),
  )
  for (const [i, row] of rows.entries()) {
    t.ok(offered[2 * i]?.split(' ').includes(row.name.split(' ').at(-1) ?? ''), row.name)
    const flags = optionsOf(row).map(({ name }) => name.split(' ')[0])
    t.same(offered[2 * i + 1]?.split(' ').sort(), [...flags, '--help'].sort(), row.name)
  }
})

function saidBy(shell: string, ...args: string[]): string {
  return execFileSync(shell, args, { encoding: 'utf8' })
}

function missing(shell: string): string | false {
  return spawnSync(shell, ['--version']).status === 0 ? false : `${shell} is not installed`
}

t.test('fish is offered the same, each with its line', { skip: missing('fish') }, async (t) => {
  const offered = (line: string): string[] => {
    const script = `source '${fishFile}'; complete -C '${line}'`
    return saidBy('fish', '-N', '-c', script).trim().split('\n')
  }
  t.same(offered('switchyard services l'), ['list\tall services of the node'])
  t.same(
    offered('switchyard serv').map((line) => line.split('\t')[0]),
    ['serve', 'services'],
  )
  t.match(offered('switchyard services list --js'), [/^--json\tprint JSON/])
  t.match(offered('switchyard predict a --verb r'), [/^run\t/])
})

t.test('zsh reads its script', { skip: missing('zsh') }, async (t) => {
  writeFileSync(join(folder, 'zsh'), completionScript('zsh', commands()))
  const script = `autoload -Uz compinit; compinit -u -D; source '${folder}/zsh'
echo "\${_comps[switchyard]}"
setopt ksharrays shwordsplit
compgen() { echo "$*" }
COMP_WORDS=(switchyard services list --) COMP_CWORD=3; _switchyard; echo "\${COMPREPLY[@]}"`
  const said = saidBy('zsh', '-f', '-c', script)
  t.match(said, '_bash_complete -o default -F _switchyard')
  t.match(said, '--url --key --key-file')
})

t.test('the command prints the scripts', async (t) => {
  for (const shell of ['bash', 'zsh', 'fish'] as const) {
    const ran = await runHere(shellOf(folder), ['completion', shell])
    t.same(ran, { code: 0, stdout: completionScript(shell, commands()), stderr: '' })
    t.match(ran.stdout, `switchyard completion ${shell}`, 'which says how it is installed')
  }
})
