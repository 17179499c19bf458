/**
 * Goal: an upload that cannot fit is refused before it is sent, one that stalls is ended, and one
 * that goes on is seen. Method: a real listener over the real store and files; the disk's size is
 * made up, so that it is full when a test wants it to be.
 */

import { once } from 'node:events'
import { readdirSync, rmSync, type StatsFs, statfsSync, statSync } from 'node:fs'
import http from 'node:http'
import t, { type Test } from 'tap'
import { DiskSpace, diskFailure, keptBytes } from '../../admin/store/space.ts'
import { AppError } from '../../core/base/errors.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { answerTo } from '../tools/admin-client.ts'
import {
  type ControlPlaneOptions,
  listenAdmin,
  openControlPlane,
  temporaryDirectory,
} from '../tools/control-plane.ts'
import { bundle } from '../tools/memory-forge.ts'
import { until } from '../tools/waiting.ts'

const MIB = 1024 * 1024
const PATH = '/admin/api/services/s/generations'

/** A disk of a gibibyte with so many bytes for imports. */
function diskWith(importBytes: () => number): DiskSpace {
  const blocks = 1024 * MIB
  const stat = (path: string): StatsFs =>
    Object.assign(statfsSync(path), { bsize: 1, blocks, bavail: keptBytes(blocks) + importBytes() })
  return new DiskSpace(process.cwd(), stat)
}

async function opened(t: Test, options: ControlPlaneOptions = {}) {
  const plane = await openControlPlane(temporaryDirectory(t), options)
  t.teardown(() => plane.close())
  const listener = await listenAdmin(plane)
  t.teardown(() => listener.close())
  const key = (await plane.operations.ensureAdminKey(null)) ?? ''
  await plane.operations.createService('s', 'me')
  const begin = (headers: Record<string, string | number>, query = '') => {
    const { port } = listener
    const all = { authorization: `Bearer ${key}`, 'content-type': 'application/zip', ...headers }
    const path = `${PATH}${query}`
    const sent = http.request({ host: '127.0.0.1', port, path, method: 'POST', headers: all })
    sent.on('error', () => {})
    return sent
  }
  const { operations, home } = plane
  const staged = (): string[] => readdirSync(home.staging)
  return { operations, home, staged, begin, forge: plane.forge }
}

/** An archive of the in-memory forge, padded to a size. */
function padded(bytes: number): Buffer {
  return Buffer.concat([bundle({ content: 'x' }), Buffer.alloc(bytes, ' ')]).subarray(0, bytes)
}

t.test('space is promised before it is written', async (t) => {
  let freeBytes = 10 * MIB
  const space = diskWith(() => freeBytes)
  const [left, right] = [space.open(), space.open()]
  left.claim(6 * MIB)
  t.throws(() => right.claim(6 * MIB), { code: 'ERR_DISK_FULL' })
  t.throws(() => right.claim(6 * MIB), /needs 6291456 bytes in .+; .+ 6291456 are promised/)
  t.equal(right.available(), 4 * MIB)
  right.claim(4 * MIB)
  // What is written is no promise any more: it shows as less free space.
  left.remaining(2 * MIB)
  freeBytes = 6 * MIB
  t.equal(right.available(), 4 * MIB)
  left.release()
  t.equal(right.available(), 6 * MIB)
  t.equal(keptBytes(1024 * 1024 * MIB), 64 * MIB)
  t.equal(keptBytes(300 * MIB), 30 * MIB, 'a tenth of a small disk')
  t.equal(keptBytes(64 * MIB), 16 * MIB, 'but never next to nothing')
})

t.test('what the file system says becomes what the caller is told', async (t) => {
  const failure = (code: string) => diskFailure(Object.assign(new Error(`${code}: x`), { code }))
  for (const code of ['ENOSPC', 'EDQUOT', 'EFBIG']) {
    t.match(failure(code), { code: 'ERR_DISK_FULL', status: 507, detail: `${code}: x` })
  }
  for (const code of ['EROFS', 'EACCES', 'EPERM', 'EIO']) {
    t.match(failure(code), { code: 'ERR_DISK_UNWRITABLE', status: 507, detail: `${code}: x` })
  }
  t.equal((failure('EPIPE') as Error).message, 'EPIPE: x', 'anything else stays as it is')
  t.notOk(failure('EPIPE') instanceof AppError)
})

t.test('two uploads that only fit one after the other', async (t) => {
  const { operations, staged, begin } = await opened(t, { space: diskWith(() => 10 * MIB) })
  const bytes = 3 * MIB
  const first = begin({ 'content-length': bytes }, '?generationId=v1')
  first.write(padded(MIB))
  await until(() => staged().length === 1)
  const headers = { 'content-length': bytes, expect: '100-continue' }
  const second = begin(headers, '?generationId=v2')
  let continued = false
  second.on('continue', () => {
    continued = true
  })
  second.flushHeaders()
  const [status, text] = await answerTo(second)
  t.equal(status, 507)
  t.match(JSON.parse(text), { code: 'ERR_DISK_FULL', detailedMessage: /promised to other imports/ })
  t.notOk(continued, 'its body was not asked for')
  first.destroy()
  await until(() => staged().length === 0)
  await until(() => operations.imports.count === 0)
  const third = begin({ 'content-length': bytes }, '?generationId=v2')
  third.end(padded(bytes))
  t.equal((await answerTo(third))[0], 200, 'there is room once the first has left')
  t.same(staged(), [])
})

t.test('an upload of unknown size goes as far as there is room', async (t) => {
  const { operations, staged, begin } = await opened(t, { space: diskWith(() => 140 * MIB) })
  const sent = begin({ 'transfer-encoding': 'chunked' }, '?generationId=v1')
  sent.write(padded(MIB))
  await until(() => staged().length === 1)
  t.match(operations.getService('s').imports, [{ phase: 'receiving', totalBytes: null }])
  const answer = answerTo(sent)
  let answered = false
  void answer.then(() => {
    answered = true
  })
  for (let i = 0; i < 80 && !answered; i++) {
    if (!sent.write(Buffer.alloc(MIB))) await Promise.race([once(sent, 'drain'), answer])
  }
  const [status, text] = await answer
  t.equal(status, 507, text)
  sent.destroy()
  await until(() => staged().length === 0)
})

t.test('an upload over the limit is refused by its length', async (t) => {
  const { staged, begin } = await opened(t)
  const form = { 'content-type': 'multipart/form-data; boundary=x' }
  for (const headers of [{}, form]) {
    const bytes = LIMITS.bundleBytesMax + LIMITS.formBytesMax + 1
    const sent = begin({ ...headers, 'content-length': bytes, expect: '100-continue' })
    sent.flushHeaders()
    const [status, text] = await answerTo(sent)
    t.equal(status, 413)
    t.match(JSON.parse(text), { code: 'ERR_BUNDLE_TOO_LARGE' })
    sent.destroy()
  }
  t.same(staged(), [])
})

const FORM_HEAD = '--x\r\nContent-Disposition: form-data; name="file"; filename="v7.zip"\r\n\r\n'

t.test('a cleaner takes the folder away that uploads are received in', async (t) => {
  const { home, staged, begin } = await opened(t)
  for (const content of ['x', 'y']) {
    rmSync(home.staging, { recursive: true })
    const sent = begin({}, `?generationId=${content}`)
    sent.end(bundle({ content }))
    const [status, text] = await answerTo(sent)
    t.equal(status, 200, text)
    t.same(staged(), [])
    t.equal(statSync(home.staging).mode & 0o777, 0o700)
  }
})

t.test('an upload that stalls is told so, and leaves nothing', async (t) => {
  const { operations, staged, begin } = await opened(t, { uploadIdleMs: 300 })
  const form = { 'content-type': 'multipart/form-data; boundary=x' }
  for (const headers of [{}, form]) {
    const sent = begin({ ...headers, 'content-length': 5 * MIB })
    sent.write(headers === form ? FORM_HEAD : '')
    // Slower than the limit as a whole, but never silent for so long.
    for (let i = 0; i < 8; i++) {
      sent.write(padded(1000))
      await new Promise((resolve) => setTimeout(resolve, 60))
    }
    t.equal(operations.imports.count, 1, 'a slow one goes on')
    const [status, text] = await answerTo(sent)
    t.equal(status, 408, text)
    t.match(JSON.parse(text), { code: 'ERR_REQUEST_TIMEOUT', detailedMessage: /for 0\.3 s/ })
    t.same(staged(), [])
    t.equal(operations.imports.count, 0)
    sent.destroy()
  }
})

t.test('an upload is told at once that the node stops', async (t) => {
  const { operations, staged, begin } = await opened(t)
  const form = { 'content-type': 'multipart/form-data; boundary=x' }
  const sent = [{}, form].map((headers) => {
    const one = begin({ ...headers, 'content-length': 5 * MIB })
    one.write(headers === form ? FORM_HEAD : '')
    one.write(padded(1000))
    return one
  })
  await until(() => staged().length === 2)
  const answers = sent.map(answerTo)
  operations.imports.stop()
  const late = begin({ 'content-length': 5 * MIB })
  late.flushHeaders()
  for (const [status, text] of await Promise.all([...answers, answerTo(late)])) {
    t.match([status, JSON.parse(text).code], [503, 'ERR_STOPPING'])
  }
  for (const one of [...sent, late]) one.destroy()
  t.same(staged(), [])
  t.equal(operations.imports.count, 0)
})

t.test('an upload is seen from its first byte', async (t) => {
  const lines: [object, string][] = []
  const note = (fields: object, message: string) => void lines.push([fields, message])
  const logger = { debug() {}, info: note, warn: note, error: note }
  const { operations, staged, begin } = await opened(t, { logger })
  const bytes = 2 * MIB
  const tail = '\r\n--x--\r\n'
  const sent = begin({
    'content-type': 'multipart/form-data; boundary=x',
    'content-length': FORM_HEAD.length + bytes + tail.length,
  })
  sent.write(FORM_HEAD)
  sent.write(padded(bytes).subarray(0, MIB))
  await until(() => (operations.getService('s').imports[0]?.doneBytes ?? 0) >= MIB)
  const v7 = { serviceId: 's', generationId: 'v7' }
  const shown = operations.getGeneration(v7)
  t.match(shown, { state: 'importing', phase: 'receiving', generationId: 'v7' })
  t.equal(shown.totalBytes, FORM_HEAD.length + bytes + tail.length)
  t.match(operations.getService('s').imports, [{ generationId: 'v7', phase: 'receiving' }])
  t.same(operations.listGenerations('s'), [], 'it is no generation yet')
  await t.rejects(operations.deleteService('s', 'me'), { code: 'ERR_GENERATION_BUSY' })
  await t.rejects(operations.deleteGeneration(v7, 'me'), { code: 'ERR_GENERATION_BUSY' })
  sent.write(padded(bytes).subarray(MIB))
  sent.end(tail)
  t.equal((await answerTo(sent))[0], 200)
  t.equal(operations.getGeneration(v7).state, 'imported')
  t.same(operations.getService('s').imports, [])
  t.same(staged(), [])
  const said = lines.filter(([, message]) => message.startsWith('an import'))
  t.match(said, [
    [{ serviceId: 's', phase: 'receiving' }, 'an import begins'],
    [{ generationId: 'v7', phasesMs: { receiving: Number } }, 'an import is done'],
  ])
})
