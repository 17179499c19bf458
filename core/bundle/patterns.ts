/** What names in a manifest look like: for its schemas, and for the sentences about them. */

/** What Python and R both take as a name. */
export const NAME_PATTERN = '^[A-Za-z_.][A-Za-z0-9_.]*$'

/** A function of R. */
export const FUNCTION_PATTERN = '^[A-Za-z.][A-Za-z0-9._]*$'

export const TABLE_NAME = '^[A-Za-z_][A-Za-z0-9_]{0,62}$'

/** `table`, `schema.table` or `catalog.schema.table`. */
export const TABLE_FROM = '^[A-Za-z_][A-Za-z0-9_$]*(\\.[A-Za-z_][A-Za-z0-9_$]*){0,2}$'

/** What the config file of a node calls a connection or an issuer. */
export const SETTING_PATTERN = '^[A-Za-z_][A-Za-z0-9_-]{0,62}$'

/** One scope of a token: RFC 6749 takes all printable ASCII but blank, quote and backslash. */
export const SCOPE_PATTERN = '^[!#-\\[\\]-~]+$'
