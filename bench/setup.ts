/**
 * `npm run bench -- --setup`: what the full report needs and what is too large for a repository.
 * What cannot be had is said in one line and left out of the report.
 */

import { cacheFolder } from './cache.ts'
import { ENVIRONMENTS, installEnvironment } from './environments.ts'
import { reasonOf } from './full/lineup.ts'
import { bundleFile } from './workloads/bundle.ts'
import { otherDenseModel, WORKLOAD_NAMES, workloadOf } from './workloads/workloads.ts'

/** How many environments could not be made. */
export async function setUp(python: string): Promise<number> {
  console.log(`Into ${cacheFolder()} (SWITCHYARD_BENCH_CACHE names another folder)`)
  for (const name of WORKLOAD_NAMES) {
    const workload = workloadOf(name)
    bundleFile(workload)
    console.log(`model ${name}: ${workload.title}`)
  }
  bundleFile(workloadOf('dense'), { model: otherDenseModel(), generation: 'v2' })
  let missing = 0
  for (const name of ENVIRONMENTS) {
    try {
      await installEnvironment(name, python)
      console.log(`environment ${name}: ready`)
    } catch (error) {
      missing += 1
      console.log(`environment ${name}: cannot be made, its peers are left out: ${reasonOf(error)}`)
    }
  }
  return missing
}
