/**
 * What a single file may contain: its size, its casts, and the calls that are banned because each
 * has cost somebody an outage. Every rule is tested with a file that it must refuse.
 */

import ts from 'typescript'
import { type Faults, ROOTS } from './layer-rules.ts'
import { at, calledName, chainOf, lineOf, nodesOf, type Source } from './source.ts'

export const LINE_COLUMNS_MAX = 100
export const FUNCTION_LINES_MAX = 60
export const FILE_LINES_MAX = 400
const CASTS_MAX = 2
/** Three is the rule of thumb, beyond it one options object; hot paths may take a fourth. */
const PARAMETERS_MAX = 4

const isProduct = (source: Source): boolean => !/^(bench|test)\//.test(source.path)
const isTypeScript = (source: Source): boolean => source.path.endsWith('.ts')

export function sizes(source: Source): Faults {
  const lines = source.text.trimEnd().split('\n')
  const long = lines.flatMap((line, index) =>
    [...line].length > LINE_COLUMNS_MAX
      ? [`${source.path}:${index + 1}: ${line.length} columns`]
      : [],
  )
  const whole = lines.length > FILE_LINES_MAX ? [`${source.path}: ${lines.length} lines`] : []
  return [...long, ...whole, ...functions(source)]
}

function functions(source: Source): Faults {
  return nodesOf(source).flatMap((node) => {
    if (!ts.isFunctionLike(node) || !('body' in node) || node.body === undefined) return []
    const end = source.tree.getLineAndCharacterOfPosition(node.end).line + 1
    const lines = end - lineOf(source, node) + 1
    return lines > FUNCTION_LINES_MAX ? [`${at(source, node)}: a function of ${lines} lines`] : []
  })
}

/** A reader learns what a file is for before reading it. */
export function heads(source: Source): Faults {
  const text = source.text.replace(/^#!.*\n/, '')
  return text.startsWith('/**') ? [] : [`${source.path}: does not open with what it is for`]
}

export function casts(source: Source): Faults {
  if (!isProduct(source)) return []
  const found = nodesOf(source).filter(isCast)
  const places = found.map((node) => lineOf(source, node)).join(', ')
  return found.length > CASTS_MAX ? [`${source.path}: ${found.length} casts, lines ${places}`] : []
}

function isCast(node: ts.Node): boolean {
  if (ts.isNonNullExpression(node) || ts.isTypeAssertionExpression(node)) return true
  return ts.isAsExpression(node) && !ts.isConstTypeReference(node.type)
}

export function parameters(source: Source): Faults {
  if (!isProduct(source) || !isTypeScript(source)) return []
  return nodesOf(source).flatMap((node) => {
    const counted = ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node)
    if (!counted && !ts.isConstructorDeclaration(node)) return []
    const { length } = node.parameters
    return length > PARAMETERS_MAX ? [`${at(source, node)}: ${length} parameters`] : []
  })
}

/** Types that lie, and syntax that only one tool chain runs. */
export function syntax(source: Source): Faults {
  return nodesOf(source).flatMap((node) => {
    const what = bannedSyntax(node)
    return what === null ? [] : [`${at(source, node)}: ${what}`]
  })
}

function bannedSyntax(node: ts.Node): string | null {
  if (ts.isEnumDeclaration(node)) return 'enum; use a union of literals'
  if (ts.isModuleDeclaration(node)) return 'namespace; use a file'
  if (node.kind === ts.SyntaxKind.AnyKeyword) return 'any; use unknown'
  if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
    return 're-export; import from where it is declared'
  }
  return null
}

const CLOCK = 'core/base/clock.ts'
const CLOCKS = ['Date.now', 'performance.now', 'process.hrtime', 'process.hrtime.bigint']

export function banned(source: Source): Faults {
  if (!isProduct(source)) return []
  return nodesOf(source).flatMap((node) => {
    const what = bannedNode(source, node)
    return what === null ? [] : [`${at(source, node)}: ${what}`]
  })
}

function bannedNode(source: Source, node: ts.Node): string | null {
  const chain = ts.isPropertyAccessExpression(node) ? chainOf(node) : ''
  if (!ROOTS.includes(source.path)) {
    if (chain === 'process.env' || chain === 'process.exit') return `${chain}; only in a root`
    if (chain.startsWith('console.')) return `${chain}; take a Logger`
  }
  if (source.path !== CLOCK) {
    if (CLOCKS.includes(chain)) return `${chain}; use ${CLOCK}`
    if (isDateNow(node)) return `new Date() is a clock; use ${CLOCK}`
  }
  return ts.isCallExpression(node) ? bannedCall(node) : null
}

function isDateNow(node: ts.Node): boolean {
  return (
    ts.isNewExpression(node) &&
    chainOf(node.expression) === 'Date' &&
    (node.arguments ?? []).length === 0
  )
}

function bannedCall(node: ts.CallExpression): string | null {
  const name = calledName(node)
  const method = ts.isPropertyAccessExpression(node.expression)
  if (method && name === 'terminate') return 'terminate() of a busy thread aborts the process'
  if (method && name === 'Extract') return 'Extract() of unzipper loses files without an error'
  return null
}

const PLAIN_ERRORS = ['Error', 'TypeError', 'RangeError']

/** Where a caller of the API waits for the answer, only a code of the error table will do. */
export function errors(source: Source): Faults {
  if (!/^(admin|core\/(query|dispatch))\//.test(source.path)) return []
  return nodesOf(source)
    .filter((node) => ts.isNewExpression(node) && PLAIN_ERRORS.includes(chainOf(node.expression)))
    .map((node) => `${at(source, node)}: a plain Error; throw an AppError with a code`)
}

/** Piscina's defaults are a queue without end and threads that go away when idle. */
export function pools(source: Source): Faults {
  if (!isProduct(source)) return []
  return nodesOf(source).flatMap((node) => {
    if (ts.isNewExpression(node) && chainOf(node.expression) === 'Piscina') {
      const names = propertyNames(node.arguments?.[0])
      const absent = ['maxQueue', 'idleTimeout'].filter((name) => !names.includes(name))
      return absent.map((name) => `${at(source, node)}: new Piscina() must name ${name}`)
    }
    if (!ts.isCallExpression(node) || calledName(node) !== 'run') return []
    const signalled = node.arguments.some((one) => propertyNames(one).includes('signal'))
    return signalled ? [`${at(source, node)}: signal of a pool terminates the thread`] : []
  })
}

function propertyNames(node: ts.Node | undefined): string[] {
  if (node === undefined || !ts.isObjectLiteralExpression(node)) return []
  return node.properties.flatMap((one) =>
    one.name !== undefined && ts.isIdentifier(one.name) ? [one.name.text] : [],
  )
}

const TRANSACTIONS = ['transaction', 'transactionSync', 'transactionAsync']
const WRITES = ['put', 'putSync', 'remove', 'removeSync', 'clearSync', 'ifNoExists', 'ifVersion']

/**
 * LMDB writes go through childTransaction() only: transaction() keeps what a throwing callback
 * wrote, and a plain put() on a full disk aborts the process.
 */
export function transactions(source: Source): Faults {
  if (!/^(admin|workers)\//.test(source.path)) return []
  const safe = /\bchildTransaction\(/.test(source.text)
  return nodesOf(source).flatMap((node) => {
    if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return []
    const name = calledName(node)
    const wrong = TRANSACTIONS.includes(name) || (WRITES.includes(name) && !safe)
    return wrong ? [`${at(source, node)}: .${name}() outside childTransaction()`] : []
  })
}

/** Importing a file declares things and does nothing, except for assertions about constants. */
export function importTime(source: Source): Faults {
  if (!isProduct(source) || ROOTS.includes(source.path)) return []
  return source.tree.statements.flatMap((statement) => {
    if (!ts.isExpressionStatement(statement) && !ts.isIfStatement(statement)) return []
    const call = ts.isExpressionStatement(statement) ? statement.expression : null
    const asserts = call !== null && ts.isCallExpression(call) && calledName(call) === 'assert'
    return asserts ? [] : [`${at(source, statement)}: work at import time`]
  })
}
