/**
 * Cleans up after a process that was killed with SIGKILL. The kernel ends its children then, but
 * not what those have started; so a shell waits for the end of a pipe, and ends the rest.
 */

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { MARK } from './command.ts'

/** `read` returns at the end of the pipe. What forks while it is killed is found the next time. */
const SCRIPT = `
read -r nothing
for round in 1 2 3 4 5 6 7 8 9 10; do
  found=$(grep -lzsF "${MARK}=$1" /proc/[0-9]*/environ)
  [ -n "$found" ] || break
  for file in $found; do
    pid=\${file#/proc/}
    kill -9 "\${pid%/environ}" 2>/dev/null
  done
  sleep 0.05
done
rm -rf -- "$1"*
`

/** Ends and removes all with this prefix once this process has ended or the result is called. */
export function watchOver(prefix: string, path: string | undefined): () => void {
  if (!existsSync('/proc/self/environ')) return () => {}
  const shell = spawn('/bin/sh', ['-c', SCRIPT, 'sh', prefix], {
    stdio: ['pipe', 'ignore', 'ignore'],
    env: { PATH: path ?? '/usr/bin:/bin' },
    cwd: '/',
    // Ctrl-C and whatever else ends our group must not end it.
    detached: true,
  })
  // Without it everything works but this.
  shell.on('error', () => {})
  shell.stdin.on('error', () => {})
  shell.unref()
  return () => {
    shell.stdin.destroy()
  }
}
