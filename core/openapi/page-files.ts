/**
 * The files that the page loads: a fixed list, so no name that is asked for ever becomes a path.
 * Each is read and packed when it is first asked for, off the main thread, and kept packed.
 */

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { gunzip, gzip } from 'node:zlib'
import { assetPath } from '../base/assets.ts'

interface Listed {
  readonly from: 'package' | 'project'
  readonly contentType: string
}

const SCRIPT = 'text/javascript; charset=utf-8'
const STYLE = 'text/css; charset=utf-8'

const FILES: ReadonlyMap<string, Listed> = new Map([
  ['swagger-ui-bundle.js', { from: 'package', contentType: SCRIPT }],
  ['swagger-ui.css', { from: 'package', contentType: STYLE }],
  ['favicon-32x32.png', { from: 'package', contentType: 'image/png' }],
  ['page.js', { from: 'project', contentType: SCRIPT }],
  ['page.css', { from: 'project', contentType: STYLE }],
])

export const PAGE_FILES: readonly string[] = [...FILES.keys()]

interface Packed {
  readonly gzipped: Uint8Array
  readonly etag: string
  readonly contentType: string
}

export interface PageFile {
  readonly status: 200 | 304
  /** Absent: what the asker has is still so. */
  readonly body?: Uint8Array
  readonly contentType: string
  readonly headers: Readonly<Record<string, string>>
}

/** Headers of the request, '' where absent. */
export interface FileRequest {
  readonly acceptEncoding: string
  readonly ifNoneMatch: string
}

const kept = new Map<string, Promise<Packed>>()

/** Null: there is no such file. Rejects when the installation lacks it. */
export function pageFile(name: string, request: FileRequest): Promise<PageFile> | null {
  const listed = FILES.get(name)
  if (listed === undefined) return null
  const packed = kept.get(name) ?? packedOf(name, listed)
  kept.set(name, packed)
  // A fault of the disk may be over the next time.
  packed.catch(() => kept.delete(name))
  return packed.then((file) => answerOf(file, request))
}

async function packedOf(name: string, { from, contentType }: Listed): Promise<Packed> {
  const bytes = await readFile(from === 'package' ? packagePath(name) : ownPath(name))
  const etag = `"${createHash('sha256').update(bytes).digest('hex').slice(0, 24)}"`
  return { gzipped: await promisify(gzip)(bytes), etag, contentType }
}

function ownPath(name: string): string {
  return assetPath(join('core/openapi/page', name))
}

function packagePath(name: string): string {
  const manifest = createRequire(import.meta.url).resolve('swagger-ui-dist/package.json')
  return join(dirname(manifest), name)
}

async function answerOf(file: Packed, request: FileRequest): Promise<PageFile> {
  const { gzipped, etag, contentType } = file
  const headers = {
    ETag: etag,
    'Cache-Control': 'public, max-age=3600',
    Vary: 'Accept-Encoding',
    'X-Content-Type-Options': 'nosniff',
  }
  if (request.ifNoneMatch.includes(etag)) return { status: 304, contentType, headers }
  if (!/\bgzip\b/.test(request.acceptEncoding)) {
    return { status: 200, body: await promisify(gunzip)(gzipped), contentType, headers }
  }
  const packedHeaders = { ...headers, 'Content-Encoding': 'gzip' }
  return { status: 200, body: gzipped, contentType, headers: packedHeaders }
}
