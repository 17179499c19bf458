/**
 * Goal: a bundle's requirements become an environment once, whoever asks for it and however often;
 * what pip says against it reaches the author; nothing is fetched from where nobody allowed it.
 * Method: real venv and pip, with wheels that the test writes and no network.
 */

import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { RuntimeSettings } from '../../../core/config/runtimes.ts'
import { ensureEnvironment, planEnvironment } from '../../../workers/python/environment.ts'
import { requirementFaults } from '../../../workers/python/requirements.ts'
import { functionPlan, pythonPlace, whyNoPython } from '../../tools/python-endpoints.ts'
import { runtimes } from '../../tools/runtimes.ts'
import { wheel } from '../../tools/wheels.ts'

const skip = whyNoPython('venv', 'ensurepip')

function bundle(t: Test, requirements: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'switchyard-environment-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  mkdirSync(join(directory, 'wheels'))
  for (const version of ['1.0', '1.1']) {
    const name = `switchyard_probe-${version}-py3-none-any.whl`
    writeFileSync(join(directory, 'wheels', name), wheel('switchyard_probe', version))
  }
  writeFileSync(join(directory, 'requirements.txt'), requirements)
  return directory
}

const GIVEN = { requirements: 'requirements.txt', wheels: 'wheels' }

async function make(t: Test, requirements: string, settings: RuntimeSettings) {
  const directory = bundle(t, requirements)
  const lines: string[] = []
  const sources = { directory, settings, onLine: (line: string) => lines.push(line) }
  const plan = await planEnvironment(GIVEN, sources)
  return { plan, sources, lines }
}

t.test('made once, for all who need the same', { skip }, async (t) => {
  const settings = runtimes(t)
  const { plan, sources, lines } = await make(t, 'switchyard_probe==1.0\n', settings)
  t.match(plan, { hash: /^[0-9a-f]{64}$/, ...GIVEN })
  const both = await Promise.all([
    ensureEnvironment(plan, sources),
    ensureEnvironment(plan, sources),
  ])
  t.strictSame(both, [both[0], both[0]])
  t.strictSame(readdirSync(settings.environments), [plan.hash], 'no leftovers')
  t.ok(lines.some((line) => /Successfully installed switchyard.probe-1\.0/.test(line)))
  const before = lines.length
  t.equal(await ensureEnvironment(plan, sources), both[0])
  t.equal(lines.length, before, 'the third finds it there')
  const other = await make(t, 'switchyard_probe>=1.0\n', settings)
  t.not(other.plan.hash, plan.hash)

  const code =
    'import switchyard_probe, sys\ndef f(): return [switchyard_probe.VERSION, sys.prefix]\n'
  const { open } = await pythonPlace(t, { 'code.py': code }, settings)
  const endpoint = await open(functionPlan({ environment: plan }))
  t.strictSame(await endpoint.response(''), ['1.0', join(settings.environments, plan.hash)])
  const bare = open(functionPlan())
  await t.rejects(bare, {
    code: 'ERR_CODE_REFUSED',
    detail: /; list "switchyard_probe" in the requirements/,
  })
})

t.test('what pip refuses', { skip }, async (t) => {
  const settings = runtimes(t)
  const { plan, sources } = await make(t, 'switchyard_probe==9.9\n', settings)
  await t.rejects(ensureEnvironment(plan, sources), {
    code: 'ERR_ENVIRONMENT_FAILED',
    detail: /No matching distribution found for switchyard.probe==9\.9/,
  })
  t.strictSame(readdirSync(settings.environments), [], 'nothing is left of it')
  const { python: _, ...rest } = settings
  await t.rejects(planEnvironment(GIVEN, { ...sources, settings: { ...rest, python: null } }), {
    code: 'ERR_INTERPRETER_MISSING',
    detail: /apt-get install python3/,
  })
  const addressed = bundle(t, 'numpy\n--index-url http://h/\n')
  await t.rejects(planEnvironment(GIVEN, { directory: addressed, settings }), {
    code: 'ERR_ENVIRONMENT_FAILED',
    detail: /^requirements\.txt line 2: "--index-url http:.+" is an option: only require/,
  })
})

t.test('lines of a requirements file', async (t) => {
  const good = [
    '',
    '# comment',
    'numpy',
    'numpy==1.24.2  # why',
    'scikit-learn>=1.2,<1.3',
    'a[b,c] ~= 1.0 ; python_version < "3.12"',
    'a.b-c_d !=1.*',
    'a (>=1)',
    `a==1 --hash=sha256:${'0'.repeat(64)}`,
    'a==1 \\',
    `  --hash=sha256:${'0'.repeat(64)}`,
  ]
  t.strictSame(requirementFaults(good.join('\n')), [])
  for (const [line, reason] of [
    ['-r other.txt', /line 1: "-r other\.txt" is an option/],
    ['--extra-index-url http://h', /is an option/],
    ['-e .', /is an option/],
    ['git+https://h/r.git', /names an address/],
    ['a @ https://h/a.whl', /names an address/],
    ['a@file:///x', /names an address/],
    ['https://h/a.whl', /names an address/],
    ['./a-1.0-py3-none-any.whl', /names a file/],
    ['/etc/passwd', /names a file/],
    ['a==1 --index-url=x', /is not a requirement/],
    ['a==1 \\\n--index-url=x', /line 1: .* is not a requirement/],
    ['a; os_name == "x" --index-url=h', /is not a requirement/],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: pip would put a variable in here.
    ['a==${HOME}', /is not a requirement/],
    ['a==1 -r x', /is not a requirement/],
    ['a b', /is not a requirement/],
  ] as const) {
    t.match(requirementFaults(line)[0] ?? 'accepted', reason, line)
  }
})
