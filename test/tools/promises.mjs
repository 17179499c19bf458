/**
 * README's table of promises, read by whoever tries them: `node test/tools/run.mjs --promises` runs
 * the tests that it names and says of each promise whether it was held, by what, and how hard that
 * was tried. Plain JavaScript, as the runner is.
 */

const ROW = /^\| (\d+) \| (.+) \| ((?:`test\/[^`]+`\s*)+) \|$/gm
const TEST = /`(test\/[^`]+)`/g
/** What a test has spent and found: a comment of its output that is one JSON object, or a seed. */
const FIGURE = /^ *# (\{.*\}|seed \d+)$/gm

/** @returns {{ number: number, text: string, tests: string[] }[]} as they stand in README */
export function promisesIn(readme) {
  return [...readme.matchAll(ROW)].map(([, number, text, tests]) => ({
    number: Number(number),
    text,
    tests: [...tests.matchAll(TEST)].map(([, path]) => path),
  }))
}

/** Figures of one test file's output, each once. */
export function figuresIn(output) {
  const all = [...output.matchAll(FIGURE)].map(([, figure]) => figure)
  // tap closes a file with its own account.
  return [...new Set(all.filter((figure) => !figure.startsWith('{ total:')))]
}

/** @param results by the path of a test file: `{ problem, passed, figures, ms }` */
export function promiseReport(promises, results) {
  return promises.map((promise) => promiseLines(promise, results).join('\n')).join('\n')
}

function promiseLines({ number, text, tests }, results) {
  const isHeld = tests.every((path) => results.get(path)?.problem === null)
  const head = `${String(number).padStart(2)}  ${isHeld ? 'held  ' : 'BROKEN'}  ${text}`
  return [head, ...tests.flatMap((path) => testLines(path, results.get(path)))]
}

function testLines(path, result) {
  if (result === undefined) return [`      ${path}: not run`]
  const { problem, passed, figures, ms } = result
  const found = problem ?? `${passed} passed`
  const head = `      ${path}: ${found} in ${Math.round(ms / 1000)} s`
  return [head, ...figures.map((figure) => `        ${figure}`)]
}
