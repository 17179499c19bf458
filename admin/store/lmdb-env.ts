/**
 * Opens LMDB the one way that this node uses it. The only file that imports lmdb: control, the
 * child that looks the store over and the child that builds one must never differ in a flag.
 */

import { open, type RootDatabase } from 'lmdb'
import { failpoint } from '../../core/base/failpoints.ts'

export type StoreEnv = RootDatabase<string, string>

export function openEnv(directory: string): StoreEnv {
  return open<string, string>({
    path: directory,
    encoding: 'string',
    cache: false,
    // With it, a commit that fails rejects one promise more, which nobody can reach.
    eventTurnBatching: false,
    noSubdir: false,
    // Known to lmdb, absent from its types; without it the files are readable for everyone.
    ...{ permissionsMode: 0o600 },
  })
}

/**
 * All or nothing, and durable when it resolves. Of lmdb's ways to write only this one both rolls
 * back when its callback throws and survives a full disk.
 */
export async function commitDurably(
  env: StoreEnv,
  puts: readonly { readonly key: string; readonly text: string }[],
  removes: readonly string[],
): Promise<void> {
  await failpoint('commit.begin')
  await env.childTransaction(() => {
    for (const { key, text } of puts) ignored(env.put(key, text))
    for (const key of removes) ignored(env.remove(key))
  })
  await failpoint('commit.visible')
  // The promise above means visible, this one means durable.
  await env.flushed
  await failpoint('commit.durable')
}

/** When a commit fails each write in it rejects too, and the commit has told it already. */
function ignored(write: Promise<unknown>): void {
  write.catch(() => {})
}
