/** Where the material is that tests use and the project does not hold. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../bench/paths.ts'

/** The shared folder beside the project (models to test with), or null where there is none. */
export const SHARED = existsSync(join(ROOT, '../shared')) ? join(ROOT, '../shared') : null
