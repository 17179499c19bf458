/**
 * Where the node is and what opens it: options, else the environment, else a profile, else the
 * ports that a node has on this machine by default. Secrets need not be on the command line, where
 * every user of the machine sees them.
 */

import { readFile } from 'node:fs/promises'
import type { OptionRow, Shell } from './command.ts'
import { whyUnreadable, wrongUsage } from './failures.ts'
import type { Flags } from './flags.ts'
import { DEFAULT_PROFILE, type Profile, type ProfileField, readProfiles } from './profiles.ts'

const DEFAULT_URL = 'http://127.0.0.1:12443'

export const CONNECTION_OPTIONS: readonly OptionRow[] = [
  {
    name: '--url <url>',
    about: `admin API of the node (SWITCHYARD_CLI_URL, default: ${DEFAULT_URL})`,
  },
  { name: '--key <key>', about: 'admin key; better: SWITCHYARD_CLI_KEY, a profile, or a file' },
  {
    name: '--key-file <file>',
    about: 'file that holds the admin key, - is stdin (SWITCHYARD_CLI_KEY_FILE)',
  },
  { name: '--profile <name>', about: 'profile to take the rest from (SWITCHYARD_CLI_PROFILE)' },
  { name: '--ca <file>', about: 'PEM file of the authority to trust (SWITCHYARD_CLI_CA)' },
  {
    name: '--cert <file>',
    about: 'PEM file of your own certificate, if the node wants one (SWITCHYARD_CLI_CERT)',
  },
  { name: '--cert-key <file>', about: 'PEM file of its private key (SWITCHYARD_CLI_CERT_KEY)' },
  { name: '--insecure', about: 'take any certificate: encrypted, but to whom is not known' },
]

/** How to speak to one of the two APIs. */
export interface Target extends Trust {
  readonly api: 'admin' | 'query'
  readonly url: URL
  readonly key: string | null
}

/** Whom to believe, and who one is. Texts are PEM. */
interface Trust {
  readonly ca: string | null
  readonly cert: string | null
  readonly certKey: string | null
  readonly insecure: boolean
}

interface Sources {
  readonly shell: Shell
  readonly flags: Flags
  readonly profile: Profile
}

export async function adminTarget(shell: Shell, flags: Flags): Promise<Target> {
  const sources = { shell, flags, profile: await profileFor(shell, flags) }
  const { profile } = sources
  const given = flags.text('url') ?? variable(shell, 'URL')
  const url = parsedUrl(given ?? profile.url ?? DEFAULT_URL, '--url')
  // A key is for the node that it belongs to: another address does not get it.
  const isOfProfile = given === null || sameOrigin(given, profile.url)
  const key = (await keyGiven(sources)) ?? (isOfProfile ? (profile.key ?? null) : null)
  return { api: 'admin', url, key, ...(await trust(sources)) }
}

/** Null: nobody says where queries go. */
export async function queryTarget(shell: Shell, flags: Flags): Promise<Target | null> {
  const sources = { shell, flags, profile: await profileFor(shell, flags) }
  const { profile } = sources
  const given = flags.text('queryUrl') ?? variable(shell, 'QUERY_URL')
  const text = given ?? (speaksOfOther(sources) ? null : profile.queryUrl) ?? null
  if (text === null) return null
  return {
    api: 'query',
    url: parsedUrl(text, '--query-url'),
    key: await queryKey(shell, flags),
    ...(await trust(sources)),
  }
}

/** Null: the service is open, or nobody gave one. */
export async function queryKey(shell: Shell, flags: Flags): Promise<string | null> {
  const profile = await profileFor(shell, flags)
  const file = flags.text('queryKeyFile') ?? variable(shell, 'QUERY_KEY_FILE')
  const given = flags.text('queryKey') ?? variable(shell, 'QUERY_KEY')
  if (given !== null) return given
  if (file !== null) return keyOfFile(shell, file)
  return speaksOfOther({ shell, flags, profile }) ? null : (profile.queryKey ?? null)
}

/** The address is not the profile's, so neither are its keys. */
function speaksOfOther({ shell, flags, profile }: Sources): boolean {
  const url = flags.text('url') ?? variable(shell, 'URL')
  const query = flags.text('queryUrl') ?? variable(shell, 'QUERY_URL')
  const otherUrl = url !== null && !sameOrigin(url, profile.url)
  return otherUrl || (query !== null && !sameOrigin(query, profile.queryUrl))
}

async function profileFor(shell: Shell, flags: Flags): Promise<Profile> {
  const name = flags.text('profile') ?? variable(shell, 'PROFILE')
  const profiles = await readProfiles(shell)
  const found = Object.hasOwn(profiles, name ?? DEFAULT_PROFILE)
    ? profiles[name ?? DEFAULT_PROFILE]
    : undefined
  if (found !== undefined) return found
  if (name === null) return {}
  const known = Object.keys(profiles).join(', ')
  const which = known === '' ? 'there is none yet' : `there are ${known}`
  throw wrongUsage(`--profile ${JSON.stringify(name)} is not known: ${which}; see profile set`)
}

async function keyGiven({ shell, flags }: Sources): Promise<string | null> {
  const flag = flags.text('key')
  if (flag !== null) return flag
  const file = flags.text('keyFile')
  if (file !== null) return keyOfFile(shell, file)
  const fileOfEnvironment = variable(shell, 'KEY_FILE')
  const ofEnvironment = variable(shell, 'KEY')
  if (ofEnvironment !== null || fileOfEnvironment === null) return ofEnvironment
  return keyOfFile(shell, fileOfEnvironment)
}

/** Also for options of other commands that take a secret. */
export async function keyOfFile(shell: Shell, path: string): Promise<string> {
  const text = path === '-' ? await textOf(shell.stdin) : await readText(path)
  const key = text.trim()
  if (key === '' || /\s/.test(key)) throw wrongUsage(`${path} does not hold one key`)
  return key
}

export async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw wrongUsage(`${path} cannot be read: ${whyUnreadable(error)}`)
  }
}

export async function textOf(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}

async function trust({ shell, flags, profile }: Sources): Promise<Trust> {
  const ca = flags.text('ca') ?? variable(shell, 'CA') ?? profile.ca
  const cert = flags.text('cert') ?? variable(shell, 'CERT') ?? profile.cert
  const certKey = flags.text('certKey') ?? variable(shell, 'CERT_KEY') ?? profile.certKey
  if ((cert === undefined) !== (certKey === undefined)) {
    throw wrongUsage('give --cert and --cert-key, or none of both')
  }
  return {
    ca: await readPem(ca, 'CERTIFICATE'),
    cert: await readPem(cert, 'CERTIFICATE'),
    certKey: await readPem(certKey, 'PRIVATE KEY'),
    insecure: flags.isSet('insecure'),
  }
}

/** A file that holds something else would be passed over in silence. */
export async function readPem(path: string | undefined, kind: string): Promise<string | null> {
  if (path === undefined) return null
  const text = await readText(path)
  if (new RegExp(`-----BEGIN ([A-Z]+ )*${kind}-----`).test(text)) return text
  throw wrongUsage(`${path} holds no ${kind.toLowerCase()} in PEM form`)
}

function parsedUrl(text: string, from: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url !== null && /^https?:$/.test(url.protocol)) return url
  const example = 'such as http://127.0.0.1:12443'
  throw wrongUsage(`${from}: ${JSON.stringify(text)} is no address of a node, ${example}`)
}

function sameOrigin(text: string, other: ProfileField | string | undefined): boolean {
  if (other === undefined || !URL.canParse(text) || !URL.canParse(other)) return false
  return new URL(text).origin === new URL(other).origin
}

/** Names of their own: without `CLI` most of them mean something to the node. */
function variable(shell: Shell, name: string): string | null {
  const value = shell.env[`SWITCHYARD_CLI_${name}`]
  return value === undefined || value === '' ? null : value
}
