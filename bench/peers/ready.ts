/** The line that tells the benchmark where a peer listens; the same that the node prints. */
export function announce(port: number): void {
  const url = `http://127.0.0.1:${port}`
  console.log(JSON.stringify({ event: 'ready', url, pid: process.pid }))
}

/**
 * The one path that all servers of the benchmark answer, so that requests are equal to the byte.
 */
export const PREDICT_PATH = '/public/api/v1/bench/predict/predict'

/** What the node takes by default, for the peers that are told. */
export const BODY_BYTES_MAX = 8 * 1024 * 1024
