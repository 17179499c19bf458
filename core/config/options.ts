/**
 * Every setting of the node, once. The parser, `--help`, the table in README and the tests are
 * made from these rows, so that none of them can know another set of options.
 */

import { LIMITS } from './limits.ts'

const PORT_MAX = 65_535
const MIB = 1024 * 1024
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

interface RowBase {
  readonly env: string
  /** Without the dashes; null: a secret, which must not show in a list of processes. */
  readonly flag: string | null
  readonly help: string
  /** What help and README show as the default when the value itself does not say it. */
  readonly defaultText?: string
}

interface IntegerRow extends RowBase {
  readonly kind: 'integer'
  /** null: decided at start, see `defaultText`. */
  readonly default: number | null
  readonly min: number
  readonly max: number
}

interface BooleanRow extends RowBase {
  readonly kind: 'boolean'
  readonly default: boolean | null
}

interface TextRow extends RowBase {
  readonly kind: 'text'
  /** What help shows in its place; default: `text`. */
  readonly placeholder?: string
  readonly default: string | null
  readonly charactersMin: number
}

interface ChoiceRow extends RowBase {
  readonly kind: 'choice'
  readonly default: string
  readonly choices: readonly string[]
}

export type OptionRow = IntegerRow | BooleanRow | TextRow | ChoiceRow

export const OPTIONS = {
  config: {
    kind: 'text',
    placeholder: 'file',
    env: 'SWITCHYARD_CONFIG',
    flag: 'config',
    default: null,
    charactersMin: 1,
    help: 'JSON file with settings such as "adminPort"; flags and environment win over it',
  },
  home: {
    kind: 'text',
    placeholder: 'directory',
    env: 'SWITCHYARD_HOME',
    flag: 'home',
    default: './data',
    charactersMin: 1,
    help: 'data directory',
  },
  host: {
    kind: 'text',
    placeholder: 'address',
    env: 'SWITCHYARD_HOST',
    flag: 'host',
    default: '127.0.0.1',
    charactersMin: 1,
    help: 'listen address of the query API',
  },
  port: {
    kind: 'integer',
    env: 'SWITCHYARD_PORT',
    flag: 'port',
    default: 12_000,
    min: 0,
    max: PORT_MAX,
    help: 'port of the query API; 0 picks one',
  },
  adminHost: {
    kind: 'text',
    placeholder: 'address',
    env: 'SWITCHYARD_ADMIN_HOST',
    flag: 'admin-host',
    default: '127.0.0.1',
    charactersMin: 1,
    help: 'listen address of the admin API; closed to the network unless said otherwise',
  },
  adminPort: {
    kind: 'integer',
    env: 'SWITCHYARD_ADMIN_PORT',
    flag: 'admin-port',
    default: 12_443,
    min: 0,
    max: PORT_MAX,
    help: 'port of the admin API and of metrics; 0 picks one',
  },
  processes: {
    kind: 'integer',
    env: 'SWITCHYARD_PROCESSES',
    flag: 'processes',
    default: 1,
    min: 1,
    max: 64,
    help: 'serving processes on the query port; each holds the loaded generations',
  },
  adminKey: {
    kind: 'text',
    env: 'SWITCHYARD_ADMIN_KEY',
    flag: null,
    default: null,
    charactersMin: 24,
    help: 'a first admin key to accept, instead of a generated one',
  },
  demo: {
    kind: 'boolean',
    env: 'SWITCHYARD_DEMO',
    flag: 'demo',
    default: null,
    defaultText: 'on when the data directory is new',
    help: 'import the demo service',
  },
  importFolders: {
    kind: 'text',
    placeholder: 'folders',
    env: 'SWITCHYARD_IMPORT_FOLDERS',
    flag: 'import-folders',
    default: null,
    defaultText: 'none',
    charactersMin: 1,
    help: 'folders of the node, with `:` between, that bundles may be imported from by path',
  },
  threads: {
    kind: 'integer',
    env: 'SWITCHYARD_THREADS',
    flag: 'threads',
    default: null,
    defaultText: '1 on up to two cores, else 2',
    min: 1,
    max: 64,
    help: 'threads per pool when the manifest is silent',
  },
  tlsCert: {
    kind: 'text',
    placeholder: 'file',
    env: 'SWITCHYARD_TLS_CERT',
    flag: 'tls-cert',
    default: null,
    charactersMin: 1,
    help: 'PEM file with the certificate chain; both APIs then speak HTTPS',
  },
  tlsKey: {
    kind: 'text',
    placeholder: 'file',
    env: 'SWITCHYARD_TLS_KEY',
    flag: 'tls-key',
    default: null,
    charactersMin: 1,
    help: 'PEM file with the private key of the certificate',
  },
  adminTlsCert: {
    kind: 'text',
    placeholder: 'file',
    env: 'SWITCHYARD_ADMIN_TLS_CERT',
    flag: 'admin-tls-cert',
    default: null,
    defaultText: 'that of `tlsCert`',
    charactersMin: 1,
    help: 'PEM file with the certificate chain of the admin API alone',
  },
  adminTlsKey: {
    kind: 'text',
    placeholder: 'file',
    env: 'SWITCHYARD_ADMIN_TLS_KEY',
    flag: 'admin-tls-key',
    default: null,
    defaultText: 'that of `tlsKey`',
    charactersMin: 1,
    help: 'PEM file with the private key of the admin API alone',
  },
  adminClientCa: {
    kind: 'text',
    placeholder: 'file',
    env: 'SWITCHYARD_ADMIN_CLIENT_CA',
    flag: 'admin-client-ca',
    default: null,
    charactersMin: 1,
    help: 'PEM file of authorities: the admin API takes only clients with a certificate of theirs',
  },
  drainMs: {
    kind: 'integer',
    env: 'SWITCHYARD_DRAIN_MS',
    flag: 'drain-ms',
    default: LIMITS.drainMs,
    min: 0,
    max: HOUR_MS,
    help: 'longest time that a stop waits for requests in flight',
  },
  hangMs: {
    kind: 'integer',
    env: 'SWITCHYARD_HANG_MS',
    flag: 'hang-ms',
    default: LIMITS.hangMs,
    min: 100,
    max: DAY_MS,
    help: 'a model run older than this has lost its thread',
  },
  serveMemoryBytes: {
    kind: 'integer',
    env: 'SWITCHYARD_SERVE_MEMORY_BYTES',
    flag: 'serve-memory-bytes',
    default: null,
    defaultText: '75 % of the memory, shared by the processes',
    min: 64 * MIB,
    max: 1024 * 1024 * MIB,
    help: 'a serving process that has grown over it is replaced without a failed request',
  },
  keepPreviousMs: {
    kind: 'integer',
    env: 'SWITCHYARD_KEEP_PREVIOUS_MS',
    flag: 'keep-previous-ms',
    default: LIMITS.keepPreviousMs,
    min: 0,
    max: DAY_MS,
    help: 'how long a replaced generation stays warm for a rollback',
  },
  bodyBytesMax: {
    kind: 'integer',
    env: 'SWITCHYARD_BODY_BYTES_MAX',
    flag: 'body-bytes-max',
    default: LIMITS.bodyBytesMax,
    min: 1024,
    max: LIMITS.laneBytesMax,
    help: 'largest body of a query',
  },
  connectionsMax: {
    kind: 'integer',
    env: 'SWITCHYARD_CONNECTIONS_MAX',
    flag: 'connections-max',
    default: LIMITS.connectionsMax,
    min: 1,
    max: 1_000_000,
    help: 'open connections to the query API, of each serving process',
  },
  strictHeaders: {
    kind: 'boolean',
    env: 'SWITCHYARD_STRICT_HEADERS',
    flag: 'strict-headers',
    default: true,
    help: 'refuse doubled framing headers; off only where clients connect without a proxy',
  },
  metricsPublic: {
    kind: 'boolean',
    env: 'SWITCHYARD_METRICS_PUBLIC',
    flag: 'metrics-public',
    default: false,
    help: '/metrics on the admin port asks for no key',
  },
  logLevel: {
    kind: 'choice',
    env: 'SWITCHYARD_LOG_LEVEL',
    flag: 'log-level',
    default: 'info',
    choices: ['debug', 'info', 'warn', 'error', 'silent'],
    help: 'least level that is logged',
  },
  forgeMemoryBytes: {
    kind: 'integer',
    env: 'SWITCHYARD_FORGE_MEMORY_BYTES',
    flag: 'forge-memory-bytes',
    default: LIMITS.forgeMemoryBytesMin,
    min: 1024 * MIB,
    max: 1024 * 1024 * MIB,
    help: 'least address space of the process that tries a new model; large bundles get more',
  },
  forgeMs: {
    kind: 'integer',
    env: 'SWITCHYARD_FORGE_MS',
    flag: 'forge-ms',
    default: LIMITS.forgeMs,
    min: 1_000,
    max: 86_400_000,
    help: 'time that the process which tries a new model has; large bundles get more',
  },
  python: {
    kind: 'text',
    placeholder: 'program',
    env: 'SWITCHYARD_PYTHON',
    flag: 'python',
    default: null,
    defaultText: '`python3` of the path',
    charactersMin: 1,
    help: 'interpreter of Python endpoints',
  },
  rscript: {
    kind: 'text',
    placeholder: 'program',
    env: 'SWITCHYARD_RSCRIPT',
    flag: 'rscript',
    default: null,
    defaultText: '`Rscript` of the path',
    charactersMin: 1,
    help: 'interpreter of R endpoints',
  },
  pipIndexUrl: {
    kind: 'text',
    placeholder: 'url',
    env: 'SWITCHYARD_PIP_INDEX_URL',
    flag: 'pip-index-url',
    default: null,
    charactersMin: 1,
    help: 'package index for requirements of bundles; unset: only the wheels inside a bundle',
  },
  children: {
    kind: 'integer',
    env: 'SWITCHYARD_CHILDREN',
    flag: 'children',
    default: null,
    defaultText: 'as `threads`',
    min: 1,
    max: 64,
    help: 'processes of each Python or R endpoint when the manifest is silent',
  },
  childMemoryBytes: {
    kind: 'integer',
    env: 'SWITCHYARD_CHILD_MEMORY_BYTES',
    flag: 'child-memory-bytes',
    default: LIMITS.childMemoryBytes,
    min: 128 * MIB,
    max: 1024 * 1024 * MIB,
    help: 'address space of one Python or R process',
  },
  childProcessesMax: {
    kind: 'integer',
    env: 'SWITCHYARD_CHILD_PROCESSES_MAX',
    flag: 'child-processes-max',
    default: LIMITS.childProcessesMax,
    min: 1,
    max: 100_000,
    help: 'processes and threads that one Python or R process may start',
  },
  childFileBytesMax: {
    kind: 'integer',
    env: 'SWITCHYARD_CHILD_FILE_BYTES_MAX',
    flag: 'child-file-bytes-max',
    default: LIMITS.childFileBytesMax,
    min: 0,
    max: 1024 * 1024 * MIB,
    help: 'largest file that a Python or R process may write',
  },
} as const satisfies Record<string, OptionRow>

export type OptionName = keyof typeof OPTIONS

/** The table of README, as Markdown; a test holds README to it. */
export function optionsMarkdown(): string {
  const lines = Object.entries<OptionRow>(OPTIONS).map(([name, row]) => {
    const cells = [`\`${name}\``, flagCell(row), `\`${row.env}\``, defaultCell(row), row.help]
    return `| ${cells.join(' | ')} |`
  })
  const head = '| Setting | Flag | Environment | Default | Meaning |\n|---|---|---|---|---|'
  return `${head}\n${lines.join('\n')}\n`
}

function flagCell(row: OptionRow): string {
  if (row.flag === null) return '–'
  return row.kind === 'boolean' ? `\`--${row.flag}\`, \`--no-${row.flag}\`` : `\`--${row.flag}\``
}

function defaultCell(row: OptionRow): string {
  if (row.defaultText !== undefined) return row.defaultText
  return row.default === null ? 'unset' : `\`${row.default}\``
}

/** What a value may be, for messages that refuse one. */
export function allowedText(row: OptionRow): string {
  switch (row.kind) {
    case 'integer':
      return row.min === row.max
        ? `only ${row.min} in this version`
        : `a whole number from ${row.min} to ${row.max}`
    case 'boolean':
      return 'true or false'
    case 'text':
      return row.charactersMin > 1 ? `at least ${row.charactersMin} characters` : 'a text'
    case 'choice':
      return `one of ${row.choices.join(', ')}`
  }
}
