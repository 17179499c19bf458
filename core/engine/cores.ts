/** How much of the machine one serving process may take for its models. */

/**
 * Each process keeps a core's worth of time for its event loop, which feeds the threads; what is
 * left is shared, since the processes answer at the same time. It bounds the batches that run at
 * once, and the threads of a pool too: more of them would only take turns on the same cores.
 *
 * An operator may wish for more: where models compute for milliseconds the event loops have little
 * to do, and their cores would idle. Then others wait for them longer.
 */
export function coresForModels(cores: number, processes: number, wished: number | null): number {
  const ours = Math.floor((cores - processes) / processes)
  return Math.max(1, Math.min(wished ?? ours, cores))
}
