/** What the name of a file of data says: apart from the schemas, for who only reads the file. */

import type { ManifestTable } from './table-schema.ts'

export function isJson(file: string): boolean {
  return file.toLowerCase().endsWith('.json')
}

/** What is between the values of a CSV file. */
export function delimiterOf({
  file = '',
  delimiter,
}: Pick<ManifestTable, 'file' | 'delimiter'>): string {
  return delimiter ?? (file.toLowerCase().endsWith('.tsv') ? '\t' : ',')
}
