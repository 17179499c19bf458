/**
 * What the node offers to endpoints that are no ONNX model: interpreters, databases, limits. Made
 * once by control; the forge and the serving processes get it as data.
 */

/** A database that bundles refer to by name; secrets are here and never in a bundle. */
export interface ConnectionSettings {
  readonly name: string
  readonly kind: 'postgresql' | 'mysql'
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password: string | null
  /** Most connections of one generation in one serving process. */
  readonly poolSize: number
  /** Longest wait for a connection to be made. */
  readonly connectMs: number
  /** `verify` checks the certificate and the name in it, `insecure` only encrypts. */
  readonly tls: 'off' | 'verify' | 'insecure'
  /** PEM text of authorities; null: those of the system. */
  readonly ca: string | null
  /** Services whose bundles may use it; null: all. */
  readonly services: readonly string[] | null
}

/** Limits of one child process, set by the kernel where it can. */
export interface ChildLimits {
  readonly memoryBytes: number
  /** Processes and threads that it may add. */
  readonly processesMax: number
  /** Largest file that it may write. */
  readonly fileBytesMax: number
}

/** Where compiled forms of models are, and what they must have been made for. */
export interface CompiledSettings {
  /** One form below it for each key. */
  readonly folder: string
  /** Hash over runtime, repair and processor: see core/bundle/compiled.ts. */
  readonly machine: string
}

export interface RuntimeSettings {
  /** Absolute path of the Python interpreter; null: none was found. */
  readonly python: string | null
  /** Absolute path of Rscript; null: none was found. */
  readonly rscript: string | null
  /** Folder of virtual environments, one below it for each hash. */
  readonly environments: string
  /** Private folder (0700) for sockets and for what children write; emptied at start. */
  readonly runDirectory: string
  /** Where pip may look beside the bundle's wheels; null: nowhere. */
  readonly pipIndexUrl: string | null
  /** Processes per endpoint where the manifest is silent. */
  readonly children: number
  readonly childLimits: ChildLimits
  /**
   * What children inherit of the node's environment: names that are on the allow-list. Beside them
   * SWITCHYARD_URL, where the node answers queries.
   */
  readonly environment: Readonly<Record<string, string>>
  /** Absolute paths; null: the system has none. */
  readonly prlimit: string | null
  readonly setpriv: string | null
  readonly connections: readonly ConnectionSettings[]
  /** Null: models are loaded as they are in their bundle. */
  readonly compiled: CompiledSettings | null
}
