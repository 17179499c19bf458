/** What a handler of the admin API is given, and what it works with; types only. */

import type { Logger } from '../../core/base/logger.ts'
import type { Answer } from '../../core/http/exchange.ts'
import type { StreamingExchange } from '../../core/http/node-exchange.ts'
import type { NodeInfo } from '../../core/metrics/prometheus.ts'
import type { MetricsStore } from '../../core/metrics/store.ts'
import type { Serving } from '../contracts.ts'
import type { Operations } from '../operations/operations.ts'
import type { Home } from '../store/home.ts'
import type { Certificates } from '../tls/certificates.ts'
import type { Params } from './router.ts'

export interface AdminApiOptions {
  readonly operations: Operations
  readonly serving: Serving
  /** Absent: without TLS. */
  readonly certificates?: Certificates
  readonly metrics: MetricsStore
  /** Facts of the node for Prometheus, read at every scrape. */
  readonly nodeInfo: () => NodeInfo
  readonly home: Home
  /** While this file exists `/isAlive/` answers 503. */
  readonly notAliveFile: string
  readonly metricsPublic: boolean
  readonly version: string
  readonly logger: Logger
}

export interface Call {
  readonly api: AdminApiOptions
  readonly exchange: StreamingExchange
  readonly params: Params
  /** Id of the admin key; '' where none is needed. */
  readonly actor: string
  /** Empty unless the route's body is `json`. */
  readonly body: Uint8Array
}

/** What it throws becomes the answer; an `upload` takes its stream before its first await. */
export type CallHandler = (call: Call) => Promise<Answer> | Answer
