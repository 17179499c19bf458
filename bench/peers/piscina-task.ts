/** What a thread of the peer with Piscina runs: a session of its own, one request at a time. */

import { workerData } from 'piscina'
import { openPredict } from './model.ts'

export default await openPredict(workerData)
