/** What code of a bundle gives for a status may be anything. */
export function isStatus(status: number, least: 200 | 400): boolean {
  return Number.isInteger(status) && status >= least && status <= 599
}
