/**
 * The page that shows a document: a few lines of HTML around Swagger UI, whose files come from its
 * installed package. Nothing is fetched from elsewhere and no script stands in the page, so its
 * policy can forbid both.
 */

export interface Page {
  readonly html: string
  readonly headers: Readonly<Record<string, string>>
}

export interface PageOptions {
  readonly title: string
  /** What the reader is asked for where the document needs a key. */
  readonly keyName: string
  /** It is asked for right away; else only when the document is refused without one. */
  readonly needsKey: boolean
  /** As it was asked for; the files lie below it, the document beside it. */
  readonly path: string
}

// Swagger UI draws its icons from data: addresses. It sets styles by script, which is no inline
// style to a browser.
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

const HEADERS = Object.freeze({
  'Content-Security-Policy': POLICY,
  'Cache-Control': 'no-cache',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
})

/** Addresses are relative, so that the page works behind a proxy that adds a prefix. */
export function docsPage({ title, keyName, needsKey, path }: PageOptions): Page {
  const isFolder = path.endsWith('/')
  const files = isFolder ? '' : 'docs/'
  const document = isFolder ? '../openapi.json' : 'openapi.json'
  const html = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<link rel="icon" href="${files}favicon-32x32.png">
<link rel="stylesheet" href="${files}swagger-ui.css">
<link rel="stylesheet" href="${files}page.css">
</head>
<body data-document="${document}" data-needs-key="${needsKey}">
<form id="ask" hidden>
<h1>${escaped(title)}</h1>
<label for="key">${escaped(keyName)}</label>
<input id="key" type="password" autocomplete="off" spellcheck="false">
<button type="submit">Show</button>
</form>
<p id="said" role="status"></p>
<main id="shown"></main>
<script src="${files}swagger-ui-bundle.js"></script>
<script src="${files}page.js"></script>
</body>
</html>
`
  return { html, headers: HEADERS }
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => ENTITIES[character] ?? '')
}
