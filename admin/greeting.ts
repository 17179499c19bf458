/** What a person at a terminal reads after a start; scripts read the ready line instead. */

import type { CurlTarget } from './tls/hints.ts'

export interface Greeting {
  readonly url: string
  readonly adminUrl: string
  /** Only when it was made now: nobody can show it again. */
  readonly firstAdminKey: string | null
  /** A command that works when pasted; null without a demo service. */
  readonly demoCurl: string | null
  readonly metricsPublic: boolean
  readonly adminCurl: CurlTarget
}

export function greetingText(greeting: Greeting): string {
  const { url, adminUrl, firstAdminKey, demoCurl } = greeting
  // Without the key itself: the variable that README sets, so that pasting works all the same.
  const key = firstAdminKey ?? '$ADMIN_KEY'
  const auth = `-H "Authorization: Bearer ${key}"`
  const { url: target, options } = greeting.adminCurl
  const curl = `curl${options}`
  const parts = [`Queries on ${url}, admin API on ${adminUrl}`]
  if (firstAdminKey !== null) {
    parts.push(`First admin key, shown this once: ${firstAdminKey}`)
  }
  if (demoCurl !== null) parts.push(`A prediction of the demo service:\n\n  ${demoCurl}`)
  parts.push(
    [
      'Services, metrics, health:',
      '',
      `  ${curl} ${auth} ${target}/admin/api/services`,
      `  ${curl} ${greeting.metricsPublic ? '' : `${auth} `}${target}/metrics`,
      `  ${curl} ${target}/admin/api/health`,
    ].join('\n'),
  )
  return `\n${parts.join('\n\n')}\n\n`
}

/** A URL that can be called: an address that means "all of this machine" is none. */
export function urlOf(tls: boolean, host: string, port: number): string {
  const callable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  const bracketed = callable.includes(':') ? `[${callable}]` : callable
  return `${tls ? 'https' : 'http'}://${bracketed}:${port}`
}
