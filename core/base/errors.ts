/**
 * Every failure that a caller can see, as one table: code, HTTP status and default message.
 *
 * Codes are for ever: clients match on them. README.md lists the table and a test holds the two
 * together. No other file contains the status of an error.
 */

interface ErrorRow {
  readonly status: number
  readonly message: string
}

export const ERROR_TABLE = {
  ERR_BODY_INVALID: { status: 400, message: 'the request body cannot be read' },
  ERR_FEATURE_INVALID: { status: 400, message: 'a feature is missing or of the wrong type' },
  ERR_TENSOR_INVALID: { status: 400, message: 'an input tensor does not fit the model' },
  ERR_ARGUMENT_INVALID: { status: 400, message: 'an argument or parameter is not valid' },
  ERR_BUNDLE_INVALID: { status: 400, message: 'the bundle is not valid' },
  ERR_PARAMETER_INVALID: { status: 400, message: 'a parameter is not valid' },
  ERR_REQUEST_INVALID: { status: 400, message: 'the HTTP request is malformed' },
  ERR_EXPLANATION_UNAVAILABLE: {
    status: 400,
    message: 'predictions of this endpoint cannot be explained as asked',
  },
  ERR_MAPPING_INVALID: { status: 400, message: 'the mapping of the service is not valid' },
  ERR_AUTH_MISSING: { status: 401, message: 'an API key is required' },
  ERR_AUTH_UNKNOWN: { status: 401, message: 'the API key is not known' },
  ERR_TOKEN_INVALID: { status: 401, message: 'the token is not valid here' },
  ERR_AUTH_FORBIDDEN: { status: 403, message: 'the API key may not do this' },
  ERR_ORIGIN_FORBIDDEN: { status: 403, message: 'requests from other web origins are refused' },
  ERR_IMPORT_PATH: { status: 403, message: 'the path is in no folder that may be imported from' },
  ERR_PATH_UNKNOWN: { status: 404, message: 'there is nothing at this path' },
  ERR_SERVICE_UNKNOWN: { status: 404, message: 'the service does not exist' },
  ERR_GENERATION_UNKNOWN: { status: 404, message: 'the generation does not exist' },
  ERR_ENDPOINT_UNKNOWN: { status: 404, message: 'the endpoint does not exist' },
  ERR_KEY_UNKNOWN: { status: 404, message: 'the key does not exist' },
  ERR_METHOD_NOT_ALLOWED: { status: 405, message: 'the path exists, the HTTP method does not' },
  ERR_REQUEST_TIMEOUT: { status: 408, message: 'the request took too long to arrive' },
  ERR_SERVICE_EXISTS: { status: 409, message: 'the service exists already' },
  ERR_GENERATION_EXISTS: { status: 409, message: 'the generation exists with other content' },
  ERR_GENERATION_ACTIVE: { status: 409, message: 'the generation is active' },
  ERR_GENERATION_BUSY: { status: 409, message: 'the generation is being imported or loaded' },
  ERR_SWITCH_OVERTAKEN: { status: 409, message: 'a later switch of the service was faster' },
  ERR_KEY_LAST: { status: 409, message: 'the last usable admin key cannot be deleted' },
  ERR_TLS_OFF: { status: 409, message: 'the node serves without TLS' },
  ERR_BODY_TOO_LARGE: { status: 413, message: 'the request body is over the limit' },
  ERR_BUNDLE_TOO_LARGE: { status: 413, message: 'the bundle is over the limit' },
  ERR_BODY_TYPE: { status: 415, message: 'the content type or encoding cannot be read here' },
  ERR_MODEL_REFUSED: { status: 422, message: 'the model cannot be loaded' },
  ERR_MODEL_LIMITS: { status: 422, message: 'the model is over its limits of time or memory' },
  ERR_CODE_REFUSED: { status: 422, message: 'the code of the bundle cannot be loaded' },
  ERR_INTERPRETER_MISSING: { status: 422, message: 'a program that the bundle needs is missing' },
  ERR_ENVIRONMENT_FAILED: { status: 422, message: 'the Python environment cannot be made' },
  ERR_CONNECTION_UNUSABLE: { status: 422, message: 'a database connection cannot be used' },
  ERR_LOOKUP_MISSING: { status: 422, message: 'no row of the table has this key' },
  ERR_LOOKUP_MULTIPLE: { status: 422, message: 'more than one row of the table has this key' },
  ERR_TEST_QUERY: { status: 422, message: 'a test query of the bundle failed' },
  ERR_ENDPOINT_TYPE: { status: 422, message: 'this node cannot run the endpoint type' },
  ERR_CERTIFICATE_INVALID: { status: 422, message: 'the certificate files cannot be used' },
  ERR_LOAD_FAILED: { status: 422, message: 'the generation could not be loaded' },
  ERR_AUTH_LIMITED: { status: 429, message: 'too many wrong keys from this address' },
  ERR_QUOTA: { status: 429, message: 'the key has used up its quota' },
  ERR_LANE_FULL: { status: 429, message: 'too many requests wait for this endpoint' },
  ERR_HEADERS_TOO_LARGE: { status: 431, message: 'the request headers are over the limit' },
  ERR_INFERENCE: { status: 500, message: 'the model failed on this request' },
  ERR_CODE_RAISED: { status: 500, message: 'the code of the endpoint raised an error' },
  ERR_ANSWER_INVALID: { status: 500, message: 'the code of the endpoint gave no usable answer' },
  ERR_QUERY_FAILED: { status: 500, message: 'the database refused or gave up the query' },
  ERR_INTERNAL: { status: 500, message: 'an internal error; the log has the details' },
  ERR_LISTEN: { status: 500, message: 'the port cannot be opened' },
  ERR_STORE_DAMAGED: { status: 500, message: 'a record of the state store is damaged' },
  ERR_STORE_FAILED: { status: 500, message: 'the state store could not write' },
  ERR_NOT_SUPPORTED: { status: 501, message: 'this node does not do that' },
  ERR_ISSUER_DOWN: { status: 503, message: 'the keys of the token issuer cannot be fetched' },
  ERR_SERVICE_DISABLED: { status: 503, message: 'the service is disabled' },
  ERR_NO_GENERATION: { status: 503, message: 'the service has no active generation' },
  ERR_POOL_DOWN: { status: 503, message: 'the workers of this generation are not available' },
  ERR_WORKER_LOST: { status: 503, message: 'the worker that ran this request was lost' },
  ERR_CHILD_LOST: { status: 503, message: 'the process that ran this request has ended' },
  ERR_DATABASE_DOWN: { status: 503, message: 'the database cannot be reached' },
  ERR_ENDPOINT_HANGS: { status: 503, message: 'the endpoint is stopped: its runs do not end' },
  ERR_ENDPOINT_CRASHES: {
    status: 503,
    message: 'the endpoint is stopped: its runs end the process',
  },
  ERR_BUDGET_FULL: { status: 503, message: 'the node holds too many bytes of bodies or answers' },
  ERR_STORE_LOCKED: { status: 503, message: 'another node uses the data directory' },
  ERR_STARTING: { status: 503, message: 'the node is starting' },
  ERR_STOPPING: { status: 503, message: 'the node is stopping' },
  ERR_APPLY_PENDING: { status: 503, message: 'committed, but not yet applied by serving' },
  ERR_REPLACE_FAILED: {
    status: 503,
    message: 'the serving process could not be replaced; the old one goes on',
  },
  ERR_DEADLINE: { status: 504, message: 'the deadline passed before the answer was ready' },
  ERR_DISK_UNWRITABLE: { status: 507, message: 'the data disk cannot be written to' },
  ERR_DISK_FULL: { status: 507, message: 'there is no space left on the data disk' },
} as const satisfies Record<`ERR_${string}`, ErrorRow>

export type ErrorCode = keyof typeof ERROR_TABLE

/** One fault of a bundle or of a body: where it is (a path such as `endpoints[0].id`) and why. */
export interface Fault {
  readonly path: string
  readonly reason: string
}

/** A failure that the world caused. `detail` is safe to show: it names the field and the reason. */
export class AppError extends Error {
  override readonly name = 'AppError'
  readonly code: ErrorCode
  readonly detail: string | null
  readonly faults: readonly Fault[]
  /** Of the table, unless an endpoint's own code has chosen another. */
  readonly status: number
  /** What the answer says beside its body; see Refusal. */
  readonly headers: Readonly<Record<string, string>> | null = null
  /** Of whom it is known although the gate has let nobody in; for logs. */
  readonly callerId: string | null = null

  constructor(
    code: ErrorCode,
    detail: string | null = null,
    faults: readonly Fault[] = [],
    status: number = ERROR_TABLE[code].status,
  ) {
    super(detail ?? ERROR_TABLE[code].message)
    this.code = code
    this.detail = detail
    this.faults = faults
    this.status = status
  }
}

/** A failure whose answer tells in headers how to go on: with which token or method, or when. */
export class Refusal extends AppError {
  override readonly headers: Readonly<Record<string, string>>
  override readonly callerId: string | null

  constructor(
    code: ErrorCode,
    detail: string,
    headers: Readonly<Record<string, string>>,
    callerId: string | null = null,
  ) {
    super(code, detail)
    this.headers = headers
    this.callerId = callerId
  }
}

/** The JSON object that every failed request gets: the three keys that clients read, and ours. */
export interface ErrorBody {
  readonly errorType: string
  readonly message: string
  readonly detailedMessage: string
  readonly code: ErrorCode
  readonly requestId: string
  readonly faults?: readonly Fault[]
}

export function errorBody(error: AppError, requestId: string): ErrorBody {
  const { message } = ERROR_TABLE[error.code]
  const detailed = error.detail === null ? message : `${message}: ${error.detail}`
  return {
    errorType: errorType(error.code),
    message,
    detailedMessage: detailed,
    code: error.code,
    requestId,
    ...(error.faults.length > 0 ? { faults: error.faults } : {}),
  }
}

/** `ERR_SERVICE_UNKNOWN` -> `ServiceUnknown`: the form that Dataiku's client prints. */
function errorType(code: ErrorCode): string {
  const words = code.slice('ERR_'.length).toLowerCase().split('_')
  return words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('')
}

/** Anything thrown becomes an AppError; what is not one already is our bug and says no more. */
export function toAppError(thrown: unknown): AppError {
  return thrown instanceof AppError ? thrown : new AppError('ERR_INTERNAL')
}

export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}

/** The name of a system's error, `ENOSPC` for one; null: it has none. */
export function codeOf(thrown: unknown): string | null {
  return thrown instanceof Error && 'code' in thrown ? String(thrown.code) : null
}
