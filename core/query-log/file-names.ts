/** Names of log files: they sort by age, and tell whose they are. */

export interface LogFile {
  readonly name: string
  readonly pid: number
  /** When it was begun, milliseconds since the epoch. */
  readonly begunMs: number
}

const NAME = /^(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d\.\d{3}Z)-(\d+)-\d+\.jsonl$/

/** Colons would need care in many tools. */
export function fileName(begunMs: number, pid: number, n: number): string {
  const time = new Date(begunMs).toISOString().replaceAll(':', '-')
  return `${time}-${pid}-${n}.jsonl`
}

/** Null: no file of the log. */
export function logFileOf(name: string): LogFile | null {
  const parts = NAME.exec(name)
  if (parts === null) return null
  const [, day, hours, minutes, seconds, pid] = parts
  return { name, pid: Number(pid), begunMs: Date.parse(`${day}T${hours}:${minutes}:${seconds}`) }
}
