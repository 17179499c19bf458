/** A client of both APIs of a started node, for flow tests: plain HTTP, as any program would. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../bench/paths.ts'
import { bundleEntries, zip } from '../../bench/workloads/zip-writer.ts'
import type { TestNode } from './node.ts'

/** Parsed JSON of any form. */
type Json = ReturnType<typeof JSON.parse>

export interface Reply {
  readonly status: number
  /** Null when there is no body. */
  readonly body: Json
  readonly headers: Headers
}

async function replyOf(response: Response): Promise<Reply> {
  const text = await response.text()
  const body = text === '' ? null : JSON.parse(text)
  return { status: response.status, body, headers: response.headers }
}

/** The archive of a PUBLIC service with one endpoint, `p`; everything else is default. */
export function bundleOf(model: Buffer, endpoint: object = {}, extra: object = {}): Buffer {
  return zip(bundleEntries(model, { id: 'p', ...endpoint }, { authorization: 'PUBLIC', ...extra }))
}

export function demoBundle(name: string): Buffer {
  return readFileSync(join(ROOT, 'bench/demo', name))
}

export class Client {
  readonly #node: TestNode

  constructor(node: TestNode) {
    this.#node = node
  }

  async admin(method: string, path: string, body?: object | FormData): Promise<Reply> {
    const json = body !== undefined && !(body instanceof FormData)
    const response = await fetch(`${this.#node.adminUrl}/admin/api${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.#node.adminKey}`,
        ...(json ? { 'content-type': 'application/json' } : {}),
      },
      ...(body === undefined ? {} : { body: json ? JSON.stringify(body) : (body as FormData) }),
    })
    return replyOf(response)
  }

  upload(serviceId: string, generationId: string, bundle: Buffer): Promise<Reply> {
    const form = new FormData()
    form.append('file', new Blob([new Uint8Array(bundle)]), `${generationId}.zip`)
    return this.admin('POST', `/services/${serviceId}/generations`, form)
  }

  switchTo(serviceId: string, generationId: string): Promise<Reply> {
    return this.admin('POST', `/services/${serviceId}/generations/${generationId}/switch`)
  }

  /** Creates the service, imports the bundle and switches to it; throws when a step is refused. */
  async deploy(serviceId: string, generationId: string, bundle: Buffer): Promise<void> {
    const created = await this.admin('POST', '/services', { serviceId })
    if (created.status !== 200 && created.status !== 409) throw refusal('create', created)
    const imported = await this.upload(serviceId, generationId, bundle)
    if (imported.status !== 200) throw refusal('import', imported)
    const switched = await this.switchTo(serviceId, generationId)
    if (switched.status !== 200) throw refusal('switch', switched)
  }

  /** POSTs to an endpoint; `path` is `service/endpoint/predict`, a text is sent as it is. */
  async query(
    path: string,
    body: object | string,
    headers: Record<string, string> = {},
  ): Promise<Reply> {
    const response = await fetch(this.queryUrl(path), {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
    return replyOf(response)
  }

  queryUrl(path: string): string {
    return `${this.#node.url}/public/api/v1/${path}`
  }
}

function refusal(step: string, reply: Reply): Error {
  return new Error(`${step}: ${reply.status} ${JSON.stringify(reply.body)}`)
}
