/** Commands that keep where nodes are, and their keys, in a file that only its owner can read. */

import { resolve } from 'node:path'
import type { Call, CommandRow } from './command.ts'
import { keyOfFile, readPem } from './connection.ts'
import { wrongUsage } from './failures.ts'
import { tableText } from './output.ts'
import {
  DEFAULT_PROFILE,
  type Profile,
  profilePath,
  readProfiles,
  writeProfiles,
} from './profiles.ts'

const NAME = { name: '[name]', about: `name of the profile, default: ${DEFAULT_PROFILE}` }

export const PROFILE_COMMANDS: readonly CommandRow[] = [
  {
    name: 'profile set',
    about: 'writes a profile, or changes fields of it',
    details:
      'The profile "default" is used where nothing else is said, others with --profile NAME.\n' +
      'The file is ~/.config/switchyard/profiles.json, readable by its owner only.',
    args: [NAME],
    options: [
      { name: '--url <url>', about: 'admin API of the node' },
      { name: '--key-file <file>', about: 'file that holds the admin key, - is stdin' },
      { name: '--query-url <url>', about: 'query API; asked for when it is absent' },
      { name: '--query-key-file <file>', about: 'file that holds a key of services, - is stdin' },
      { name: '--ca <file>', about: 'PEM file of the authority to trust' },
      { name: '--cert <file>', about: 'PEM file of your own certificate' },
      { name: '--cert-key <file>', about: 'PEM file of its private key' },
    ],
    examples: [
      'profile set --url http://127.0.0.1:12443 --key-file data/first-admin-key',
      'profile set production --url https://node:12443 --key-file - < key.txt',
    ],
    run: setProfile,
  },
  {
    name: 'profile list',
    about: 'the profiles, without their keys',
    examples: ['profile list'],
    run: async ({ shell, output }) => {
      const profiles = Object.entries(await readProfiles(shell)).map(([name, one]) => {
        const { key, queryKey, ...open } = one
        return { name, ...open, hasKey: key !== undefined, hasQueryKey: queryKey !== undefined }
      })
      output.answer(profiles, () =>
        tableText(profiles, [
          { head: 'PROFILE', cell: ({ name }) => name },
          { head: 'URL', cell: ({ url }) => url },
          { head: 'KEY', cell: ({ hasKey }) => hasKey },
          { head: 'QUERY URL', cell: ({ queryUrl }) => queryUrl },
          { head: 'QUERY KEY', cell: ({ hasQueryKey }) => hasQueryKey },
        ]),
      )
    },
  },
  {
    name: 'profile delete',
    about: 'forgets a profile',
    args: [NAME],
    examples: ['profile delete production'],
    run: async ({ shell, args: [name = DEFAULT_PROFILE], output }) => {
      const { [name]: gone, ...others } = await readProfiles(shell)
      if (gone === undefined) throw wrongUsage(`there is no profile ${JSON.stringify(name)}`)
      await writeProfiles(shell, others)
      output.answer({ ok: true, profile: name }, () => `deleted ${name}`)
    },
  },
]

/** Fields that name files, and what these hold. */
const FILES = [
  ['ca', 'CERTIFICATE'],
  ['cert', 'CERTIFICATE'],
  ['certKey', 'PRIVATE KEY'],
] as const

async function setProfile({ shell, args, flags, output }: Call): Promise<void> {
  const [name = DEFAULT_PROFILE] = args
  const given: Record<string, string> = {}
  for (const field of ['url', 'queryUrl'] as const) {
    const text = flags.text(field)
    if (text !== null) given[field] = text
  }
  for (const [field, kind] of FILES) {
    const path = flags.text(field)
    if (path === null) continue
    // Commands are run in any folder.
    given[field] = resolve(path)
    await readPem(path, kind)
  }
  for (const field of ['key', 'queryKey'] as const) {
    const file = flags.text(`${field}File`)
    if (file !== null) given[field] = await keyOfFile(shell, file)
  }
  for (const field of ['url', 'queryUrl'] as const) {
    const text = given[field]
    if (text === undefined || /^https?:\/\/./.test(text)) continue
    throw wrongUsage(`${JSON.stringify(text)} is no address, such as http://127.0.0.1:12443`)
  }
  if (Object.keys(given).length === 0) throw wrongUsage('give at least --url or --key-file')
  const profiles = await readProfiles(shell)
  const profile: Profile = { ...profiles[name], ...given }
  await writeProfiles(shell, { ...profiles, [name]: profile })
  const path = profilePath(shell)
  output.answer({ ok: true, profile: name, path }, () => `wrote profile ${name} to ${path}`)
}
