/** The names of endpoint types: apart from the schemas, for those who need nothing but them. */

export const ENDPOINT_TYPES = [
  'STD_PREDICTION',
  'CUSTOM_PREDICTION',
  'R_PREDICTION',
  'CUSTOM_R_PREDICTION',
  'SQL_QUERY',
  'DATASET_LOOKUP',
  'R_FUNCTION',
  'PYTHON_FUNCTION',
] as const
export type EndpointType = (typeof ENDPOINT_TYPES)[number]

/** What an endpoint is when aliases are resolved. */
export type RunType = Exclude<EndpointType, 'R_PREDICTION'>

/** Names that other products use for the same types; read as ours, never written. */
export const TYPE_ALIASES: Readonly<Record<string, RunType>> = {
  PY_FUNCTION: 'PYTHON_FUNCTION',
  DATASETS_LOOKUP: 'DATASET_LOOKUP',
  R_PREDICTION: 'CUSTOM_R_PREDICTION',
}

/** The name that the admin API emits, or null for a type that nobody knows. */
export function endpointType(name: string): RunType | null {
  return (Object.hasOwn(TYPE_ALIASES, name) ? TYPE_ALIASES[name] : undefined) ?? runType(name)
}

export const RUN_TYPES: readonly RunType[] = ENDPOINT_TYPES.filter(
  (type) => type !== 'R_PREDICTION',
)

function runType(name: string): RunType | null {
  return RUN_TYPES.find((type) => type === name) ?? null
}
