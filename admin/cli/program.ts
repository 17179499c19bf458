/**
 * From arguments to the command that was meant. The one importer of commander here: it makes its
 * parser, and every help text, of the rows of the table.
 */

import { Command, CommanderError, Option } from 'commander'
import type { CommandRow, OptionRow } from './command.ts'
import { CONNECTION_OPTIONS } from './connection.ts'
import { Flags } from './flags.ts'

export interface Chosen {
  readonly row: CommandRow
  readonly args: readonly string[]
  readonly flags: Flags
}

export type Reading =
  | { readonly kind: 'run'; readonly chosen: Chosen }
  | { readonly kind: 'print'; readonly text: string }
  /** `help` is the command that tells more. */
  | { readonly kind: 'wrong'; readonly line: string; readonly help: string }

const ABOUT =
  'A real-time API node: models, functions, queries and look-ups as versioned HTTP services.'

const JSON_OPTION: OptionRow = {
  name: '--json',
  about: 'print JSON on stdout, an error too, in place of tables',
}

const EXIT_TEXT =
  'Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the node cannot be reached.'

const OVERVIEW_TEXT = `
Where the node is: --url and --key-file, else SWITCHYARD_CLI_URL and SWITCHYARD_CLI_KEY, else a
profile ("switchyard profile set --help"), else http://127.0.0.1:12443.
${EXIT_TEXT}

Help with examples: switchyard services create --help
Settings of the node, such as --port, --admin-port and --home: switchyard serve --help`

/** Groups of commands, in one line each. */
export const GROUPS: Readonly<Record<string, string>> = {
  services: 'services of the node',
  generations: 'versions of a service: import, switch, delete',
  mapping: 'which generations share the traffic of a service',
  keys: 'keys that call services',
  'admin-keys': 'keys of the admin API',
  bundle: 'make and check bundles, without a node',
  profile: 'nodes that you work with, by name',
}

export function readCommandLine(rows: readonly CommandRow[], argv: readonly string[]): Reading {
  let written = ''
  const chosen: Chosen[] = []
  const write = (text: string): void => {
    written += text
  }
  const program = programOf(rows, (one) => chosen.push(one))
  for (const command of withNested(program)) {
    command.exitOverride().configureOutput({ writeOut: write, writeErr: write })
  }
  try {
    program.parse(argv, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return { kind: 'print', text: written }
    // A group without its command shows what there is.
    const line = error.code === 'commander.help' ? groupLine(rows, argv) : lineOf(error)
    return { kind: 'wrong', line, help: helpFor(rows, argv) }
  }
  const [first] = chosen
  return first === undefined
    ? { kind: 'print', text: program.helpInformation() + OVERVIEW_TEXT }
    : { kind: 'run', chosen: first }
}

/** Of `--help`: every command with a line of its own. */
export function overviewText(rows: readonly CommandRow[]): string {
  const lines = rows.map((row) => [usageOf(row), row.about] as const)
  const width = Math.max(...lines.map(([usage]) => usage.length))
  const list = lines.map(([usage, about]) => `  ${usage.padEnd(width)}  ${about}`).join('\n')
  const head = `Usage: switchyard [command] [options]\n\n${ABOUT}`
  return `${head}\n\nCommands:\n${list}\n${OVERVIEW_TEXT}\n`
}

function programOf(rows: readonly CommandRow[], choose: (chosen: Chosen) => void): Command {
  const program = new Command('switchyard')
    .usage('[command] [options]')
    .description(ABOUT)
    .helpOption('-h, --help', 'print this text')
    .helpCommand(false)
    .showSuggestionAfterError(true)
  for (const row of rows) {
    const [group = '', name] = row.name.split(' ')
    const parent = name === undefined ? program : groupOf(program, group)
    addCommand(parent, name ?? group, { row, choose })
  }
  return program
}

function groupOf(program: Command, name: string): Command {
  const known = program.commands.find((command) => command.name() === name)
  if (known !== undefined) return known
  return program
    .command(name)
    .usage('<command> [options]')
    .description(GROUPS[name] ?? '')
    .helpOption('-h, --help', 'print this text')
    .helpCommand(false)
    .showSuggestionAfterError(true)
}

interface Adding {
  readonly row: CommandRow
  readonly choose: (chosen: Chosen) => void
}

function addCommand(parent: Command, name: string, { row, choose }: Adding): void {
  const command = parent
    .command(name)
    .summary(row.about)
    .description(row.details === undefined ? `${row.about}.` : `${row.about}.\n\n${row.details}`)
    .helpOption('-h, --help', 'print this text')
    .allowExcessArguments(false)
    .showSuggestionAfterError(true)
  for (const arg of row.args ?? []) command.argument(arg.name, arg.about)
  for (const option of optionsOf(row)) addOption(command, option)
  const examples = row.examples.map((example) => `  switchyard ${example}`).join('\n')
  command.addHelpText('after', `\nExamples:\n${examples}\n\n${EXIT_TEXT}`)
  command.action(() => {
    const args = command.processedArgs.flat().filter((one) => one !== undefined)
    choose({ row, args: args.map(String), flags: new Flags(command.opts()) })
  })
}

/** What may come several times is gathered, however often it comes. */
function addOption(command: Command, { name, about }: OptionRow): void {
  const isList = name.includes('...')
  const option = new Option(isList ? name.replace('...', '') : name, about)
  if (isList) {
    option.argParser((value: string, before: unknown) =>
      Array.isArray(before) ? [...before, value] : [value],
    )
  }
  command.addOption(option)
}

/** All that a command knows, its own first. */
export function optionsOf(row: CommandRow): readonly OptionRow[] {
  const connection = row.connects === true ? CONNECTION_OPTIONS : []
  return [...(row.options ?? []), ...connection, ...(row.isPlain === true ? [] : [JSON_OPTION])]
}

function usageOf(row: CommandRow): string {
  return [row.name, ...(row.args ?? []).map(({ name }) => name)].join(' ')
}

function withNested(command: Command): Command[] {
  return [command, ...command.commands.flatMap(withNested)]
}

function groupLine(rows: readonly CommandRow[], argv: readonly string[]): string {
  const group = argv.find((word) => !word.startsWith('-')) ?? ''
  const names = rows
    .filter(({ name }) => name.startsWith(`${group} `))
    .map(({ name }) => name.slice(group.length + 1))
  return `${group}: there are the commands ${names.join(', ')}`
}

/** Of the command that was named, or its group, or of all. */
function helpFor(rows: readonly CommandRow[], argv: readonly string[]): string {
  const [first = '', second = ''] = argv
  const names = rows.map(({ name }) => name)
  const known = [`${first} ${second}`, first].find((name) => names.includes(name))
  const isGroup = names.some((name) => name.startsWith(`${first} `))
  return ['switchyard', ...(known ?? (isGroup ? first : '')).split(' '), '--help']
    .filter((word) => word !== '')
    .join(' ')
}

function lineOf(error: CommanderError): string {
  const text = error.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ')
  const [, expected, got] = text.match(/Expected (\d+) arguments? but got (\d+)/) ?? []
  if (expected === undefined) return text.trim()
  const takes = expected === '0' ? 'no argument' : `${expected} argument(s)`
  return `too many arguments: it takes ${takes}, and got ${got}; a value with blanks needs quotes`
}
