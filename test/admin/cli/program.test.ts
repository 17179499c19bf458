/**
 * Goal: every command can be found, read about and called as its help says; every mistake in the
 * words of a command is told in one line that names the way on, with exit code 2.
 * Method: all rows of the table, their own examples among them, as bash splits them; and a list of
 * mistakes.
 */

import { execFileSync } from 'node:child_process'
import t from 'tap'
import { optionsOf, readCommandLine } from '../../../admin/cli/program.ts'
import { commands } from '../../../admin/cli/table.ts'
import { runHere, shellOf } from '../../tools/command-shell.ts'
import { temporaryDirectory } from '../../tools/control-plane.ts'

const shell = shellOf(temporaryDirectory(t))
const run = (...argv: string[]) => runHere(shell, argv)

function words(example: string): string[] {
  const [command = ''] = example.split(' < ')
  const script = `printf '%s\\0' ${command}`
  return execFileSync('bash', ['-c', script], { encoding: 'utf8' }).split('\0').slice(0, -1)
}

t.test('the examples of every command call that command', async (t) => {
  for (const row of commands()) {
    t.ok(row.examples.length > 0, `${row.name} has an example`)
    for (const example of row.examples.filter((one) => !one.endsWith('--help'))) {
      const reading = readCommandLine(commands(), words(example))
      t.equal(reading.kind === 'run' ? reading.chosen.row.name : reading, row.name, example)
    }
  }
})

t.test('help tells every command, and of a command every option', async (t) => {
  const { code, stdout } = await run('--help')
  t.equal(code, 0)
  for (const row of commands()) {
    t.match(stdout, `\n  ${row.name} `)
    const help = await run('help', ...row.name.split(' '))
    t.equal(help.code, 0)
    for (const { name } of optionsOf(row))
      t.ok(help.stdout.includes(name.split(' ')[0] ?? ''), name)
    t.match(help.stdout, /Examples:\n {2}switchyard/)
    t.match(help.stdout, 'Exit codes: 0 done, 1')
  }
  t.equal((await run('help')).stdout, stdout)
  t.match((await run('services', 'help')).stdout, /settings/)
  t.match((await run('help', 'keys')).stdout, /admin|create/)
})

t.test('an option has a value in all commands or in none', async (t) => {
  const seen = new Map<string, boolean>()
  for (const { name } of commands().flatMap((row) => optionsOf(row))) {
    const [flag = ''] = name.split(' ')
    t.equal(seen.get(flag) ?? name.includes('<'), name.includes('<'), flag)
    seen.set(flag, name.includes('<'))
  }
})

const MISTAKES: readonly (readonly [string, RegExp])[] = [
  ['service list', /unknown command 'service' \(Did you mean services\?\); see switchyard --help/],
  ['services lst', /unknown command 'lst' \(Did you mean list\?\); see switchyard services --help/],
  ['services', /services: there are the commands list, show, .*; see switchyard services --help/],
  ['nonsense --help', /unknown command 'nonsense'/],
  ['help nonsense', /unknown command 'nonsense'/],
  ['services list --jsn', /unknown option '--jsn' \(Did you mean --json\?\); see .*services list/],
  ['services list more', /takes no argument, and got 1; .* see switchyard services list --help/],
  ['services create', /missing required argument 'service'; see switchyard services create/],
  ['services list --url', /option '--url <url>' argument missing/],
  ['services list --url nonsense', /--url: "nonsense" is no address of a node, such as http/],
  ['services list --url ftp://node', /--url: "ftp:\/\/node" is no address/],
  ['services list --key-file none', /none cannot be read: there is no such file/],
  ['services list --key-file /', /\/ cannot be read: it is a folder/],
  ['services list --ca none', /none cannot be read/],
  ['services list --cert none', /give --cert and --cert-key, or none of both/],
  ['services list --profile none', /--profile "none" is not known: there is none yet/],
  ['services settings w --query-log some', /--query-log "some": off, failures, sample:0.01 or all/],
  ['generations import w none.zip', /none.zip cannot be read: there is no such file/],
  ['generations import w /tmp', /\/tmp is no file: make a bundle of it with "switchyard bundle/],
  ['mapping set w v1', /"v1": a share is written v1=0.9 or v1=90%/],
  ['mapping set w v1=1.5', /"v1=1.5": a share is written/],
  ['mapping set w v1=101%', /"v1=101%": a share is written/],
  ['mapping set w =1', /"=1": a share is written/],
  ['keys create --requests-per-second many', /--requests-per-second "many" is no number/],
  ['keys update k', /give --requests-per-second, --concurrent-requests or both/],
  ['admin-keys create --expiry soon', /--expiry "soon" is no time such as 2027-01-01T00:00:00Z/],
  ['predict wine', /"wine": name the endpoint as SERVICE\/ENDPOINT/],
  ['predict a/b --query-url http://x --verb guess', /--verb "guess": one of predict, run, query/],
  [
    'predict a/b --query-url http://x --verb run --explain',
    /--explain is for predictions; .*"run"/,
  ],
  ['predict a/b --query-url http://x --verb predict --data {', /--data is not JSON/],
  ['predict a/b --query-url http://x --verb predict --data a.json', /--data @a.json/],
  ['predict a/b --query-url http://x --verb predict --data -', /stdin is empty/],
  ['predict a/b --query-url http://x --verb run --row a=1 --row a=2', /run takes one row/],
  [
    'predict a/b --query-url http://x --verb run --row a=1 --data 1',
    /give one of --features, --row/,
  ],
  ['profile set', /give at least --url or --key-file/],
  ['profile set --url x', /"x" is no address/],
  ['profile delete', /there is no profile "default"/],
  ['completion tcsh', /tcsh: the shells are bash, zsh, fish/],
]

for (const [line, said] of MISTAKES) {
  t.test(`a mistake: ${line}`, async (t) => {
    const plain = await run(...line.split(' '))
    t.match(plain, { code: 2, stdout: '' })
    t.match(plain.stderr, said)
    t.match(plain.stderr, /^switchyard: [^\n]+\n$/, 'one line')
    if (line.startsWith('completion') || line.startsWith('help')) return
    const { code, stdout } = await run(...line.replace(' --help', '').split(' '), '--json')
    // The option would be a value here, or one of the group.
    if (line === 'services' || line.endsWith('--url')) return
    t.equal(code, 2)
    t.match(JSON.parse(stdout), { errorType: 'WrongUsage', message: said })
  })
}
