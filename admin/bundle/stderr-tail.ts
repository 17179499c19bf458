/**
 * The last words of a child process, made fit for an answer: no paths of this machine, no control
 * characters, no more than a sentence.
 */

const TAIL_CHARACTERS = 8_192
const LINE_CHARACTERS = 300

const OUT_OF_MEMORY =
  /std::bad_alloc|cannot allocate|failed to allocate|out of memory|allocation failed|ENOMEM/i

/** What Node, the C++ runtime and ONNX Runtime begin their last words with. */
const ERROR = /\w*(error|exception)\b|what\(\):|fatal|terminate called/i

export class StderrTail {
  readonly #paths: readonly string[]
  #text = ''

  /** `paths` are replaced by their role; every other absolute path loses its folders. */
  constructor(paths: readonly string[]) {
    this.#paths = paths
  }

  add(text: string): void {
    this.#text = (this.#text + text).slice(-TAIL_CHARACTERS)
  }

  saysOutOfMemory(): boolean {
    return OUT_OF_MEMORY.test(this.#text)
  }

  /** The line that says most: the last that names an error, else the last that is no frame. */
  lastLine(): string {
    const lines = this.#text.split('\n').map((line) => this.#clean(line))
    const telling = lines.filter((line) => line !== '' && !isNoise(line))
    const said = telling.findLast((line) => ERROR.test(line)) ?? telling.at(-1) ?? ''
    return said.slice(0, LINE_CHARACTERS)
  }

  #clean(line: string): string {
    let text = line
    for (const path of this.#paths) text = text.replaceAll(path, 'bundle')
    return text
      .replace(/[^\x20-\x7e\u00a0-\uffff]/g, ' ')
      .replace(/(?:file:\/\/)?(?:\/[\w.@+~-]+)+\/([\w.@+~-]+)/g, '$1')
      .replace(/\s+/g, ' ')
      .trim()
  }
}

/** Stack frames, dividers and Node's own closing line say nothing to the owner of a model. */
function isNoise(line: string): boolean {
  return /^(at |\d+: |-{3,}|Node\.js v|\^+$|[{}]$)/.test(line)
}
