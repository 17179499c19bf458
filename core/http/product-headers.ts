/** Headers that every answer of either listener carries; clients written for Dataiku's read two. */

export const API_VERSION = '1.0'

export function productHeaders(version: string): Readonly<Record<string, string>> {
  return Object.freeze({
    'DSS-API-Version': API_VERSION,
    'DSS-Version': version,
    'X-Content-Type-Options': 'nosniff',
  })
}
