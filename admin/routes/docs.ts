/**
 * The page that shows this API's document. It holds no secret, so it is open; the document itself
 * is not, and the page asks for the admin key to fetch it.
 */

import { AppError } from '../../core/base/errors.ts'
import { docsPage } from '../../core/openapi/page.ts'
import { pageFile } from '../../core/openapi/page-files.ts'
import type { CallHandler } from './call.ts'

export const getDocs: CallHandler = ({ exchange }) => {
  const title = 'Switchyard administration'
  const { html, headers } = docsPage({
    title,
    keyName: 'Admin key',
    needsKey: true,
    path: exchange.path,
  })
  return { status: 200, body: html, contentType: 'text/html; charset=utf-8', headers }
}

export const getDocsFile: CallHandler = ({ exchange, params }) => {
  const found = pageFile(params['file'] ?? '', {
    acceptEncoding: exchange.header('accept-encoding'),
    ifNoneMatch: exchange.header('if-none-match'),
  })
  if (found === null) throw new AppError('ERR_PATH_UNKNOWN', 'the page has no such file')
  return found
}
