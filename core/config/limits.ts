/**
 * Every limit of the product, once, with the relations between them asserted when the file loads.
 * Limits that an operator may change are options (see options.ts) that default to these.
 */

import { assert } from '../base/assert.ts'

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB

export const LIMITS = {
  bodyBytesMax: 8 * MIB,
  /** All request bodies that the process holds at once. */
  bodyBytesTotalMax: 256 * MIB,
  laneRequestsMax: 1_024,
  laneBytesMax: 32 * MIB,
  timeoutMs: 10_000,
  hangMs: 60_000,
  /** A run that holds its permit longer than this gives it back, so that others are served. */
  permitMs: 250,
  batchRowsMax: 64,
  /** Bodies of a batch up to this size are written where its thread reads them. */
  slotBodyBytes: 256 * KIB,
  multiRowsMax: 10_000,
  /** An explanation gives the thread back after this long, so that others get in between. */
  explanationSliceMs: 20,
  /** Rows and values of one run of explanations, where it may be larger than a batch. */
  explanationRowsMax: 256,
  explanationValuesMax: 1_000_000,
  /** Rows and cells of a background sample that are kept, and bytes of its file. */
  backgroundRowsMax: 1_000,
  backgroundCellsMax: 1_000_000,
  backgroundBytesMax: 64 * MIB,
  jsonDepthMax: 64,
  drainMs: 15_000,
  /** uWebSockets.js ends a kept connection that is silent for this long; it cannot be set. */
  idleMs: 10_000,
  /** A replaced serving process answers who is connected for this long, or `drainMs` if longer. */
  retireMs: 25_000,
  connectionsMax: 20_000,
  /** Largest answer that is handed to the socket at once; beyond, the reader's pace rules. */
  answerBytesAtOnce: 64 * KIB,
  /** The same of the last answer of a connection. */
  answerBytesLast: 1 * MIB,
  /** Large answers that wait for slow readers, at least; see `unreadBytesMax`. */
  unreadBytesMin: 64 * MIB,
  bundleBytesMax: 4 * GIB,
  bundleUnpackedBytesMax: 8 * GIB,
  bundleRatioMax: 200,
  /** What a form adds to the archive that it carries, at most. */
  formBytesMax: 1 * MIB,
  /** Longest silence of an uploading caller while more is waited for. */
  uploadIdleMs: 60_000,
  bundleEntriesMax: 10_000,
  /** The directory of an archive is read at once, so it has a bound of its own. */
  bundleDirectoryBytesMax: 16 * MIB,
  /** Files up to this size may be packed at any ratio: nobody is hurt by a small one. */
  bundleRatioFreeBytes: 1 * MIB,
  bundlePathBytesMax: 1_024,
  /** What the file systems of Linux and macOS allow between two slashes. */
  bundleNameBytesMax: 255,
  bundleDepthMax: 32,
  manifestBytesMax: 4 * MIB,
  forgeMemoryBytesMin: 4 * GIB,
  /** The forge may take forgeMs plus 1 s for every forgeBytesPerS of the archive. */
  forgeMs: 120_000,
  forgeBytesPerS: 20 * MIB,
  /** Compiled forms of all models; each takes about twice the weights of its model. */
  compiledBytesMax: 16 * GIB,
  /** Longest wait for the serving process to report that a state is applied. */
  applyMs: 5_000,
  /** Longest wait for a generation to become warm in the serving process. */
  loadMs: 300_000,
  keepPreviousMs: 600_000,
  /** Address space; numpy and its like reserve far more than they use. */
  childMemoryBytes: 8 * GIB,
  childProcessesMax: 64,
  childFileBytesMax: 1 * GIB,
  /** A call that is asked to end at its deadline gets this much before its process is killed. */
  childGraceMs: 250,
  /** Longest start of a child: imports of its code included. */
  childStartMs: 60_000,
  /** Largest answer of a child. */
  childAnswerBytesMax: 64 * MIB,
  /** Most tasks at once in the one thread of an io pool. */
  ioTasksMax: 64,
  /** pip may take this long for one environment. */
  environmentMs: 600_000,
  /** Keys of a token issuer that are older are fetched again, behind the requests. */
  issuerKeysFreshMs: 600_000,
  /** Without its issuer a node goes on with the keys it has for so long. */
  issuerKeysKeptMs: 24 * 3_600_000,
  /** Tokens with unknown key ids cause one fetch in this time. */
  issuerCoolDownMs: 30_000,
  /** After a fetch that has failed, the next one is not tried before. */
  issuerRetryMs: 5_000,
  issuerFetchMs: 5_000,
  issuerKeysBytesMax: 256 * KIB,
  issuerKeysMax: 100,
  /** Tokens that are remembered as good, of one issuer. */
  tokensMax: 10_000,
  tokenCharsMax: 8_192,
  /** Wrong keys of one address in a window that are told so; more are told to wait. */
  wrongKeysMax: 100,
  wrongKeysMs: 10_000,
  wrongKeyAddressesMax: 10_000,
  /** Shares of quotas that processes lend each other are lent for so long. */
  quotaLeaseMs: 1_000,
  /** A request over the share of its process waits so long for what others give back. */
  quotaAskMs: 150,
  /** So long control waits for what the others say. */
  quotaGiveMs: 50,
  queryLogFileBytesMax: 64 * MIB,
  /** Of one service. */
  queryLogTotalBytesMax: 1 * GIB,
  journalEntriesMax: 100_000,
  adminBodyBytesMax: 1 * MIB,
} as const

// One body of the largest size must fit each budget it passes through, or no such body ever does.
assert(LIMITS.laneBytesMax >= LIMITS.bodyBytesMax, 'a lane holds one body of the largest size')
assert(LIMITS.bodyBytesTotalMax >= LIMITS.laneBytesMax, 'the budget holds one full lane')
// While one batch runs the next must be able to gather.
assert(LIMITS.laneRequestsMax >= 2 * LIMITS.batchRowsMax, 'a lane holds two batches')
// A slow but legal run is never taken for a hang.
assert(LIMITS.hangMs > LIMITS.timeoutMs, 'hangMs is beyond the default deadline')
// A request that came at the last moment of a kept connection has its whole time.
assert(LIMITS.retireMs > LIMITS.idleMs + LIMITS.timeoutMs, 'who is connected is answered')
assert(LIMITS.permitMs < LIMITS.hangMs, 'a permit comes back before its thread is lost')
assert(LIMITS.quotaAskMs > LIMITS.quotaGiveMs, 'control has answered when nobody waits any more')
assert(LIMITS.issuerKeysKeptMs > LIMITS.issuerKeysFreshMs, 'old keys bridge a failed fetch')
