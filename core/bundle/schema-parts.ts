/** Pieces that the schemas of the manifest share. */

import { ID_PATTERN } from '../base/ids.ts'
import { Type } from './schema-builder.ts'

export const strict = { additionalProperties: false }

export const ENDPOINT_ID = Type.String({ pattern: ID_PATTERN })

/** Path inside the bundle: forward slashes, no leading slash; checked again when unpacking. */
export const FilePath = Type.String({ minLength: 1, maxLength: 1024 })
