/**
 * A source file as the house rules see it: its syntax tree by the TypeScript compiler, and the few
 * questions that several rules ask. Rules read the tree and not the text, so that a word in a
 * comment or in a string is never taken for code.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import ts from 'typescript'
import { ROOT } from '../../bench/paths.ts'

export interface Source {
  /** Relative to the project, with forward slashes. */
  readonly path: string
  readonly text: string
  readonly tree: ts.SourceFile
}

export interface Import {
  /** As written: `./x.ts`, `node:fs`, `lmdb`. */
  readonly specifier: string
  /** Path of the imported source file; null for a package. */
  readonly target: string | null
  /** Erased when compiled. */
  readonly typeOnly: boolean
}

export const FOLDERS = ['core', 'workers', 'admin', 'bench', 'test']

export function parse(path: string, text: string): Source {
  const kind = path.endsWith('.ts') ? ts.ScriptKind.TS : ts.ScriptKind.JS
  return { path, text, tree: ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true, kind) }
}

export function readSources(): Source[] {
  return FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .map((path) => `${folder}/${path.replaceAll('\\', '/')}`)
      .filter((path) => /\.(ts|mjs)$/.test(path))
      .sort()
      .map((path) => parse(path, readFileSync(join(ROOT, path), 'utf8'))),
  )
}

/** Every node below the file, in the order of the text. */
export function nodesOf(source: Source): ts.Node[] {
  const nodes: ts.Node[] = []
  const visit = (node: ts.Node): void => {
    nodes.push(node)
    ts.forEachChild(node, visit)
  }
  ts.forEachChild(source.tree, visit)
  return nodes
}

export function lineOf(source: Source, node: ts.Node): number {
  return source.tree.getLineAndCharacterOfPosition(node.getStart(source.tree)).line + 1
}

/** `path:line`, as editors open it. */
export function at(source: Source, node: ts.Node): string {
  return `${source.path}:${lineOf(source, node)}`
}

/** Static imports, re-exports and dynamic imports alike: an arrow is an arrow. */
export function importsOf(source: Source): Import[] {
  return nodesOf(source).flatMap((node) => {
    if (ts.isImportDeclaration(node)) return arrow(source, node.moduleSpecifier, isErased(node))
    if (ts.isExportDeclaration(node)) return arrow(source, node.moduleSpecifier, node.isTypeOnly)
    if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      return arrow(source, node.argument.literal, true)
    }
    const dynamic =
      ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
    return dynamic ? arrow(source, node.arguments[0], false) : []
  })
}

function arrow(source: Source, name: ts.Node | undefined, typeOnly: boolean): Import[] {
  if (name === undefined || !ts.isStringLiteral(name)) return []
  const specifier = name.text
  const local = specifier.startsWith('.')
  const target = local ? posix.join(posix.dirname(source.path), specifier) : null
  return [{ specifier, target, typeOnly }]
}

/** `import type …`, or an import of which every name says `type`. */
function isErased(node: ts.ImportDeclaration): boolean {
  const clause = node.importClause
  if (clause === undefined) return false
  if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true
  const names = clause.namedBindings
  if (clause.name !== undefined || names === undefined || !ts.isNamedImports(names)) return false
  return names.elements.length > 0 && names.elements.every((element) => element.isTypeOnly)
}

/** The package of `lmdb/x` and of `@scope/name/x`. */
export function packageOf(specifier: string): string {
  const parts = specifier.split('/')
  return parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/')
}

/** `a.b.c` of a chain of plain names; '' for anything else. */
export function chainOf(node: ts.Node): string {
  if (ts.isIdentifier(node)) return node.text
  if (!ts.isPropertyAccessExpression(node)) return ''
  const left = chainOf(node.expression)
  return left === '' ? '' : `${left}.${node.name.text}`
}

/** Name of the method or function that a call names last: `a.b(…)` and `b(…)` are both `b`. */
export function calledName(node: ts.CallExpression): string {
  if (ts.isPropertyAccessExpression(node.expression)) return node.expression.name.text
  return ts.isIdentifier(node.expression) ? node.expression.text : ''
}

/** Folder that decides what a file may import: `core/engine`, `admin`, `workers`, … */
export function layerOf(path: string): string {
  const [top = '', second = ''] = path.split('/')
  if (top !== 'core') return top
  return second.includes('.') ? 'core' : `core/${second}`
}

export function folderOf(path: string): string {
  return dirname(path)
}
