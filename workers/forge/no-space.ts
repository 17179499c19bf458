/** Whether something failed because the disk is full, whoever says so and in whatever words. */

import { AppError, messageOf } from '../../core/base/errors.ts'
import { isObject } from '../../core/base/json.ts'

const CODES: readonly unknown[] = ['ENOSPC', 'EDQUOT', 'EFBIG', 'ERR_DISK_FULL']

export function noSpace(error: unknown): boolean {
  if (error instanceof AppError) return error.code === 'ERR_DISK_FULL'
  // Databases say it in words.
  if (/No space left on device|MDB_MAP_FULL/i.test(messageOf(error))) return true
  return isObject(error) && CODES.includes(error['code'])
}
