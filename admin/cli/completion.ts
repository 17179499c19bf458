/**
 * Completion scripts, made of the table of commands: words of a command, then its options. They
 * hold all that they need, so that a keystroke starts no process.
 */

import type { CommandRow } from './command.ts'
import { GROUPS, optionsOf } from './program.ts'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type ShellName = (typeof SHELLS)[number]

export function completionScript(shell: ShellName, rows: readonly CommandRow[]): string {
  switch (shell) {
    case 'bash':
      return bash(rows)
    case 'zsh':
      return zsh(rows)
    case 'fish':
      return fish(rows)
  }
}

/** What may follow each beginning of a command: '' and every group. */
function wordsAfter(rows: readonly CommandRow[]): Map<string, string[]> {
  const words = new Map<string, string[]>()
  for (const { name } of rows) {
    const [first = '', second] = name.split(' ')
    const top = words.get('') ?? []
    words.set('', top.includes(first) ? top : [...top, first])
    if (second !== undefined) words.set(first, [...(words.get(first) ?? []), second])
  }
  return words
}

interface Flag {
  /** With its dashes. */
  readonly name: string
  readonly about: string
  readonly hasValue: boolean
  readonly choices: readonly string[]
}

function flagsOf(row: CommandRow): Flag[] {
  const flags = optionsOf(row).map(({ name, about, choices = [] }): Flag => {
    const [flag = ''] = name.split(' ')
    return { name: flag, about, hasValue: name.includes('<'), choices }
  })
  return [...flags, { name: '--help', about: 'print help', hasValue: false, choices: [] }]
}

function choicesOf(row: CommandRow): readonly string[] {
  return (row.args ?? []).flatMap(({ choices = [] }) => choices)
}

/** Where nothing is offered bash offers files: options must not stand in their place. */
function takesFile(row: CommandRow): boolean {
  return (row.args ?? []).some(({ name }) => /file|directory/.test(name))
}

function bash(rows: readonly CommandRow[]): string {
  const cases = [
    ...[...wordsAfter(rows)].map(([group, words]) => [`'${group}'`, words] as const),
    ...rows.map((row) => {
      const flags = flagsOf(row).map(({ name }) => name)
      return [`'${row.name}'`, [...choicesOf(row), ...flags]] as const
    }),
  ]
  const filed = rows.filter(takesFile).map(({ name }) => `'${name} '`)
  const lines = cases.map(([key, words]) => `    ${key}) words='${words.join(' ')}' ;;`)
  return `# bash completion for switchyard; put this into ~/.bashrc:
#   source <(switchyard completion bash)
_switchyard() {
  local current="\${COMP_WORDS[COMP_CWORD]}" key='' words='' word
  COMPREPLY=()
  case "\${COMP_WORDS[COMP_CWORD-1]}" in
${valueCases(rows)}
  esac
  for word in "\${COMP_WORDS[@]:1:$((COMP_CWORD-1))}"; do
    case "$word" in -*) break ;; esac
    case "$key $word" in
${groupPattern(rows)}) key="\${key:+$key }$word" ;;
      *) [ -n "$key" ] || return 0; break ;;
    esac
  done
  case "$key" in
${lines.join('\n')}
  esac
  case "$key $current" in
    ${filed.join('|')}) return ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _switchyard switchyard
`
}

/** Behind an option comes its value. */
function valueCases(rows: readonly CommandRow[]): string {
  const valued = rows.flatMap(flagsOf).filter(({ hasValue }) => hasValue)
  const open = valued.filter(({ choices }) => choices.length === 0).map(({ name }) => name)
  const chosen = valued.filter(({ choices }) => choices.length > 0)
  const lines = chosen.map(({ name, choices }) => {
    return `    ${name}) COMPREPLY=($(compgen -W "${choices.join(' ')}" -- "$current")); return ;;`
  })
  return [...new Set(lines), `    ${[...new Set(open)].join('|')}) return ;;`].join('\n')
}

/** Beginnings of commands, as `case` takes them. */
function groupPattern(rows: readonly CommandRow[]): string {
  const firsts = wordsAfter(rows).get('') ?? []
  const patterns = [...firsts.map((word) => `' ${word}'`)]
  const full = rows.filter(({ name }) => name.includes(' ')).map(({ name }) => `'${name}'`)
  return `      ${[...patterns, ...full].join('|')}`
}

function zsh(rows: readonly CommandRow[]): string {
  return `#compdef switchyard
# zsh completion for switchyard; put this into ~/.zshrc, behind compinit:
#   source <(switchyard completion zsh)
autoload -U +X bashcompinit && bashcompinit
${bash(rows).split('\n').slice(2).join('\n')}`
}

function fish(rows: readonly CommandRow[]): string {
  const lines = ['# fish completion for switchyard; put this into ~/.config/fish/config.fish:']
  lines.push('#   switchyard completion fish | source')
  const firsts = wordsAfter(rows).get('') ?? []
  const about = new Map(rows.map((row) => [row.name, row.about]))
  for (const word of firsts) {
    const text = quoted(about.get(word) ?? GROUPS[word] ?? '')
    lines.push(`complete -c switchyard -n __fish_use_subcommand -f -a ${word} -d ${text}`)
  }
  for (const row of rows) {
    const [first = '', second] = row.name.split(' ')
    const seen = `__fish_seen_subcommand_from ${first}`
    const condition = second === undefined ? seen : `${seen}; and ${seenFrom(second)}`
    if (second !== undefined) {
      const text = quoted(row.about)
      const open = `${seen}; and not ${seenFrom(secondsOf(rows, first))}`
      lines.push(`complete -c switchyard -n '${open}' -f -a ${second} -d ${text}`)
    }
    const choices = choicesOf(row)
    if (choices.length > 0) {
      lines.push(`complete -c switchyard -n '${condition}' -f -a '${choices.join(' ')}'`)
    }
    for (const flag of flagsOf(row)) lines.push(fishFlag(flag, condition))
  }
  return `${lines.join('\n')}\n`
}

function fishFlag({ name, about, hasValue, choices }: Flag, condition: string): string {
  const value = hasValue ? ' -r' : ''
  const known = choices.length > 0 ? ` -f -a '${choices.join(' ')}'` : ''
  const text = quoted(about)
  return `complete -c switchyard -n '${condition}' -l ${name.slice(2)}${value}${known} -d ${text}`
}

function seenFrom(words: string): string {
  return `__fish_seen_subcommand_from ${words}`
}

function secondsOf(rows: readonly CommandRow[], group: string): string {
  return (wordsAfter(rows).get(group) ?? []).join(' ')
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
