/**
 * Real databases for tests: PostgreSQL and MariaDB on loopback, each with a data directory of its
 * own that goes with the test. Nothing they hold has to last, so nothing is ever synced.
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { findProgram } from '../../admin/bundle/child-limits.ts'
import type { ConnectionSettings } from '../../core/config/runtimes.ts'

const PATH = `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/local/sbin`
const START_MS = 30_000
const PASSWORD = "pass'word"

export interface TestDatabase {
  readonly settings: ConnectionSettings
  /** SIGKILL, as when the machine loses power. */
  kill(): Promise<void>
  /** On the same port; settles when it is being started, not when it answers. */
  start(): void
  /** Settles when it answers. */
  ready(): Promise<void>
}

export interface DatabaseKind {
  readonly kind: 'postgresql' | 'mysql'
  /** Null: not installed here. */
  readonly program: string | null
  start(t: Pick<Test, 'teardown'>, given?: Partial<ConnectionSettings>): Promise<TestDatabase>
}

export const POSTGRESQL: DatabaseKind = {
  kind: 'postgresql',
  program: postgresProgram(),
  start: (t, given) => startDatabase(t, 'postgresql', given),
}

export const MARIADB: DatabaseKind = {
  kind: 'mysql',
  program: findProgram('mariadbd', PATH),
  start: (t, given) => startDatabase(t, 'mysql', given),
}

/** Skips with one line where the program is absent; on the build machine nothing is skipped. */
export function skipReason({ kind, program }: DatabaseKind): string | false {
  if (program !== null) return false
  if (process.env['CI'] === 'true') throw new Error(`${kind} is not installed`)
  return `${kind} is not installed here`
}

/** Debian keeps the programs of each version in a folder of their own. */
function postgresProgram(): string | null {
  const versions = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql') : []
  const folders = versions.map((version) => `/usr/lib/postgresql/${version}/bin`)
  return findProgram('postgres', [...folders, PATH].join(':'))
}

async function startDatabase(
  t: Pick<Test, 'teardown'>,
  kind: 'postgresql' | 'mysql',
  given: Partial<ConnectionSettings> = {},
): Promise<TestDatabase> {
  const directory = mkdtempSync(join(tmpdir(), `switchyard-${kind}-`))
  const port = await freePort()
  const server = kind === 'postgresql' ? postgres(directory, port) : mariadb(directory, port)
  let child: ChildProcess | null = null
  const kill = async (): Promise<void> => {
    const running = child
    child = null
    if (running === null || running.exitCode !== null) return
    const ended = new Promise((resolve) => running.once('exit', resolve))
    running.kill('SIGKILL')
    await ended
    server.killRest()
  }
  t.teardown(async () => {
    await kill()
    rmSync(directory, { recursive: true, force: true })
  })
  const start = (): void => {
    const [program = '', ...args] = server.command
    child = spawn(program, args, { stdio: 'ignore', ...server.user })
  }
  server.initialise()
  start()
  const ready = (): Promise<void> => answers(server.probe)
  await ready()
  server.setUp()
  const settings: ConnectionSettings = {
    name: 'crm',
    kind,
    host: '127.0.0.1',
    port,
    database: 'test',
    user: 'tester',
    password: PASSWORD,
    poolSize: 4,
    connectMs: 1_000,
    tls: 'off',
    ca: null,
    services: null,
    ...given,
  }
  return { settings, kill, start, ready }
}

interface Server {
  readonly command: readonly string[]
  readonly user: { readonly uid?: number; readonly gid?: number }
  initialise(): void
  /** Throws until it answers. */
  probe(): void
  setUp(): void
  /** What a server that was killed has left running. */
  killRest(): void
}

type Run = (program: string, args: readonly string[], input?: string) => string

/** It refuses to run as root, so it runs as the user that its package has made. */
function postgres(directory: string, port: number): Server {
  const program = POSTGRESQL.program ?? ''
  const user: Server['user'] = userInfo().uid === 0 ? idsOf('postgres') : {}
  if (user.uid !== undefined) chownSync(directory, user.uid, user.gid ?? user.uid)
  chmodSync(directory, 0o700)
  const data = join(directory, 'data')
  const bin = join(program, '..')
  const run: Run = (name, args, input = '') =>
    execFileSync(join(bin, name), args, { ...user, input, stdio: ['pipe', 'pipe', 'pipe'] })
      .toString()
      .trim()
  const local = ['-h', directory, '-p', String(port), '-U', 'postgres', '-v', 'ON_ERROR_STOP=1']
  const sql = (database: string, text: string): string =>
    run('psql', [...local, '-d', database, '-q', '-c', text])
  return {
    user,
    command: [
      ...[program, '-D', data, '-p', String(port), '-k', directory, '-h', '127.0.0.1'],
      ...['-c', 'fsync=off', '-c', 'full_page_writes=off', '-c', 'max_connections=30'],
    ],
    initialise: () => {
      run('initdb', ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-sync'])
      const rules = 'local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n'
      execFileSync('tee', [join(data, 'pg_hba.conf')], { ...user, input: rules, stdio: 'pipe' })
    },
    probe: () => void sql('postgres', 'select 1'),
    setUp: () => {
      sql('postgres', `create role tester login password '${PASSWORD.replaceAll("'", "''")}'`)
      sql('postgres', 'create database test owner tester')
    },
    // Its processes see that their parent is gone, and hold the data directory until then.
    killRest: () => execFileSync('sleep', ['0.3']),
  }
}

function mariadb(directory: string, port: number): Server {
  const program = MARIADB.program ?? ''
  const user = userInfo().username
  const socket = join(directory, 's')
  const data = join(directory, 'data')
  const files = ['--no-defaults', `--datadir=${data}`]
  const sql = (text: string): void => {
    const args = ['--no-defaults', `--socket=${socket}`, '-u', user, '-e', text]
    execFileSync('mariadb', args, { stdio: 'pipe' })
  }
  return {
    user: {},
    command: [
      ...[program, ...files, `--user=${user}`, `--port=${port}`, '--bind-address=127.0.0.1'],
      ...[`--socket=${socket}`, `--pid-file=${join(directory, 'pid')}`, '--skip-name-resolve'],
      ...[
        '--innodb-flush-log-at-trx-commit=0',
        '--max-connections=60',
        '--innodb-flush-method=nosync',
      ],
    ],
    initialise: () => {
      const args = [...files, `--user=${user}`, `--auth-root-authentication-method=socket`]
      const more = [`--auth-root-socket-user=${user}`, '--skip-test-db']
      execFileSync('mariadb-install-db', [...args, ...more], { stdio: 'pipe' })
    },
    probe: () => sql('SELECT 1'),
    setUp: () => {
      const name = `'tester'@'127.0.0.1'`
      const password = PASSWORD.replaceAll("'", "''")
      sql('CREATE DATABASE test CHARACTER SET utf8mb4')
      sql(`CREATE USER ${name} IDENTIFIED BY '${password}'; GRANT ALL ON test.* TO ${name}`)
    },
    killRest: () => {},
  }
}

function idsOf(user: string): { readonly uid: number; readonly gid: number } {
  const id = (flag: string): number => Number(execFileSync('id', [flag, user]).toString())
  return { uid: id('-u'), gid: id('-g') }
}

async function answers(probe: () => void): Promise<void> {
  const endMs = performance.now() + START_MS
  for (;;) {
    try {
      probe()
      return
    } catch (error) {
      if (performance.now() > endMs) throw error
      await sleep(100)
    }
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      const port = typeof address === 'object' && address !== null ? address.port : 0
      server.close(() => resolve(port))
    })
  })
}
