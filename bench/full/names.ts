/** The systems of the report by their names, apart from what starts them: the flags name them. */

export const SYSTEM_NAMES = [
  'node',
  'node-all-cores',
  'fastify',
  'fastify-piscina',
  'fastapi',
  'litserve',
  'bentoml',
  'mlserver',
  'pytriton',
] as const
export type SystemName = (typeof SYSTEM_NAMES)[number]
