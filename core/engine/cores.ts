/** How much of the machine one serving process may take for its models. */

/**
 * Each process keeps a core's worth of time for its event loop, which feeds the threads; what is
 * left is shared, since the processes answer at the same time. It bounds the batches that run at
 * once, and the threads of a pool too: more of them would only take turns on the same cores.
 */
export function coresForModels(cores: number, processes: number): number {
  return Math.max(1, Math.floor((cores - processes) / processes))
}
