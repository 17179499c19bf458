/**
 * Which functions and classes a Python or R file has, read by the parser of its own language: no
 * line of the file is run.
 */

import { type ExecFileException, execFile } from 'node:child_process'
import { basename } from 'node:path'
import { assetPath } from '../../core/base/assets.ts'
import { isObject } from '../../core/base/json.ts'
import type { ArgumentDraft, CodeDraft, DraftRequest, FunctionDraft } from '../protocol.ts'
import { interpreter } from '../python/interpreter.ts'
import { rscript } from '../r/interpreter.ts'
import { DraftRefused } from './refused.ts'

type CodeRequest = Extract<DraftRequest, { kind: 'code' }>

const PARSE_MS = 30_000
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024

export async function draftCode(request: CodeRequest): Promise<CodeDraft> {
  const { language, file, settings } = request
  const isPython = language === 'python'
  const program = isPython ? interpreter(settings) : rscript(settings)
  const flags = isPython ? ['-I', '-B'] : ['--vanilla']
  const script = assetPath(`workers/drafts/signatures.${isPython ? 'py' : 'R'}`)
  const text = await outputOf(program, [...flags, script, file], request)
  return codeDraft(JSON.parse(text))
}

function outputOf(
  program: string,
  args: readonly string[],
  { file, settings }: CodeRequest,
): Promise<string> {
  const options = {
    env: { ...settings.environment },
    timeout: PARSE_MS,
    maxBuffer: OUTPUT_BYTES_MAX,
    killSignal: 'SIGKILL',
  } as const
  return new Promise((resolve, reject) => {
    execFile(program, args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new DraftRefused(`${basename(file)} cannot be read: ${whyNot(error, stderr)}`))
    })
  })
}

function whyNot({ killed, signal, code }: ExecFileException, stderr: string): string {
  const line = stderr.trim().split('\n').at(-1) ?? ''
  if (killed === true) return `its interpreter did not end within ${PARSE_MS / 1_000} s`
  return line === '' ? `its interpreter ended with ${signal ?? `code ${code}`}` : line.trim()
}

/** What the scripts of this folder print. */
function codeDraft(parsed: unknown): CodeDraft {
  const { functions, classes } = isObject(parsed) ? parsed : {}
  return {
    kind: 'code',
    functions: records(functions).map(
      (one): FunctionDraft => ({
        name: String(one['name']),
        arguments: records(one['arguments']).map(argumentOf),
        open: one['open'] === true,
      }),
    ),
    classes: records(classes).map((one) => ({
      name: String(one['name']),
      bases: Array.isArray(one['bases']) ? one['bases'].map(String) : [],
    })),
  }
}

function argumentOf(one: Readonly<Record<string, unknown>>): ArgumentDraft {
  const told = { name: String(one['name']), optional: one['optional'] === true }
  return Object.hasOwn(one, 'value') ? { ...told, value: one['value'] } : told
}

function records(value: unknown): readonly Readonly<Record<string, unknown>>[] {
  return Array.isArray(value) ? value.filter(isObject) : []
}
