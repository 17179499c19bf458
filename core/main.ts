/**
 * The program's entry: picks the role, or the command that is run instead, and nothing else.
 *
 * Control and serve share this file but not their imports, so that the serving process never loads
 * LMDB and control never loads uWebSockets.js or a model.
 */

const serving = process.argv.includes('--role=serve')
const command = process.argv[2]

try {
  if (serving) await startServing()
  else if (command === 'serve') await startNamed()
  else if (isCommand(command)) await startCommand()
  else await startControl()
} catch (error) {
  // The one failure that can come before any log exists.
  process.stderr.write(`switchyard: ${explain(error)}\n`)
  process.exit(1)
}

/** Settings of the node begin with a dash; `--help` alone asks what there is. */
function isCommand(word: string | undefined): boolean {
  if (word === undefined) return false
  return (
    !word.startsWith('-') || ((word === '--help' || word === '-h') && process.argv.length === 3)
  )
}

/** The name of the command is for people: the node's settings follow it. */
async function startNamed(): Promise<void> {
  process.argv.splice(2, 1)
  await startControl()
}

async function startServing(): Promise<void> {
  // Ctrl-C and service managers signal the whole group; serve leaves on control's word only. Set
  // before the first import, because a signal may come while modules load.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  const { serve } = await import('./serve.ts')
  serve()
}

async function startCommand(): Promise<void> {
  const { runCommand } = await import('../admin/cli/main.ts')
  await runCommand()
}

async function startControl(): Promise<void> {
  const { control } = await import('../admin/control.ts')
  await control()
}

function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (!('code' in error && error.code === 'ERR_MODULE_NOT_FOUND'))
    return error.stack ?? error.message
  const cure = error.message.includes('Cannot find package') ? 'npm ci' : 'npm run build -- --force'
  return `${error.message}; run "${cure}"`
}
