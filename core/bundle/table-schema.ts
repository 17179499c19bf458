/** Tables of the manifest: what lookups, enrichment and embedded SQL ask. */

import type { Static } from '@sinclair/typebox'
import { TABLE_FROM, TABLE_NAME } from './patterns.ts'
import { Type } from './schema-builder.ts'
import { FilePath, strict } from './schema-parts.ts'

export const OnLookupProblem = Type.Union(
  [Type.Literal('ERROR'), Type.Literal('IGNORE'), Type.Literal('NULL')],
  {
    description: 'The request fails, the record is answered as ignored, or its columns are null.',
    default: 'ERROR',
  },
)

const ColumnType = Type.Union([
  Type.Literal('string'),
  Type.Literal('integer'),
  Type.Literal('number'),
  Type.Literal('boolean'),
  Type.Literal('date'),
  Type.Literal('timestamp'),
])

export const TableSchema = Type.Object(
  {
    name: Type.String({ pattern: TABLE_NAME }),
    file: Type.Optional(FilePath),
    connection: Type.Optional(
      Type.String({ description: 'Named connection of the node, in place of `file`.' }),
    ),
    from: Type.Optional(
      Type.String({
        pattern: TABLE_FROM,
        description: 'Table or view behind `connection`; default: `name`.',
      }),
    ),
    key: Type.Optional(
      Type.Array(Type.String({ minLength: 1 }), {
        minItems: 1,
        maxItems: 16,
        description: 'Columns by which rows are looked up.',
      }),
    ),
    columns: Type.Optional(
      Type.Record(Type.String(), ColumnType, {
        description:
          'Column to type. Of a CSV file what is not named is a string; a Parquet file and a ' +
          'database know their types.',
      }),
    ),
    delimiter: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 1,
        description: 'Of a CSV file; default: a tab in .tsv files, else a comma.',
      }),
    ),
  },
  strict,
)

export type ManifestTable = Static<typeof TableSchema>
