/**
 * Bodies made up for models that take whole tensors: zeros of the declared shape. Where dimensions
 * are free, several sizes are tried, since a convolution cannot do with an image of one pixel.
 */

import { isObject } from '../../core/base/json.ts'
import type { StdPredictionEndpoint } from '../../core/bundle/endpoint-schemas.ts'
import type { TensorSpec } from '../../core/bundle/plan.ts'

const VALUES_MAX = 1_000_000
const FREE_SIZES = [1, 8, 32, 224]
/** A model that reads its texts as numbers takes "0" and not "". */
const TEXTS = ['0', '']

/** Bodies for `predict`, the likeliest first. */
export function rawBodies(inputs: readonly TensorSpec[]): string[] {
  const free = inputs.some(({ shape }) => hasFree(shape))
  const texts = inputs.some(({ datatype }) => datatype === 'string')
  const bodies: string[] = []
  for (const size of free ? FREE_SIZES : [1]) {
    for (const text of texts ? TEXTS : ['']) {
      const body = rawBody(inputs, size, text)
      if (body !== null) bodies.push(body)
    }
  }
  return bodies
}

/**
 * True when zeros of the declared shape may mean nothing to the model, so a refusal is no proof. A
 * first dimension that counts rows is no guess: one row is always meant to work.
 */
export function isGuess(inputs: readonly TensorSpec[]): boolean {
  return inputs.some(({ shape, datatype }) => {
    const free = shape.length < 2 ? shape.length === 0 || shape[0] === null : hasFree(shape)
    return datatype === 'string' || free
  })
}

function hasFree(shape: TensorSpec['shape']): boolean {
  return shape.slice(1).includes(null)
}

function rawBody(inputs: readonly TensorSpec[], size: number, text: string): string | null {
  const tensors: [string, unknown][] = []
  for (const { name, datatype, shape } of inputs) {
    const dims = shape.map((dimension, i) => dimension ?? (i === 0 ? 1 : size))
    const count = dims.reduce((product, dimension) => product * dimension, 1)
    if (count > VALUES_MAX) return null
    const value = datatype === 'string' ? text : datatype === 'bool' ? false : 0
    tensors.push([name, { shape: dims, data: new Array(count).fill(value) }])
  }
  return JSON.stringify({ features: Object.fromEntries(tensors) })
}

/**
 * ONNX Runtime shows an unknown shape like that of a single number. Where a test query sends
 * something with dimensions, the input has as many, all free.
 */
export function withGivenRanks(
  inputs: readonly TensorSpec[],
  endpoint: StdPredictionEndpoint,
): TensorSpec[] {
  const [query] = endpoint.testQueries ?? []
  const features: unknown = query?.q['features']
  return inputs.map((input) => {
    if (input.shape.length > 0) return input
    const given: unknown = isObject(features) ? features[input.name] : undefined
    return { ...input, shape: new Array(rankOf(given)).fill(null) }
  })
}

function rankOf(given: unknown): number {
  if (isObject(given)) return Array.isArray(given['shape']) ? given['shape'].length : 0
  let rank = 0
  for (let level = given; Array.isArray(level) && rank < 16; level = level[0]) rank += 1
  return rank
}
