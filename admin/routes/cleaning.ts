/**
 * Routes that tidy up, and those of caches that other nodes have. Models are part of a generation
 * here and environments are made from a bundle's own list of packages, so there is nothing to bring
 * in from elsewhere: what would do that says so, and never pretends to have done it.
 */

import { AppError } from '../../core/base/errors.ts'
import { done } from './answers.ts'
import type { CallHandler } from './call.ts'

const NO_ENVIRONMENTS =
  'environments are not brought in: the node makes them when a bundle with a list of packages ' +
  '("requirements") is imported'
const NO_MODELS =
  'there is no cache of models: each model is part of a generation, and comes with its bundle'

export const cleanUnused: CallHandler = async ({ api, actor }) =>
  done(await api.operations.cleanUnused(actor))

export const cleanCodeEnvironments: CallHandler = async ({ api }) =>
  done(await api.operations.cleanEnvironments())

export const importCodeEnvironment: CallHandler = () => {
  throw new AppError('ERR_NOT_SUPPORTED', NO_ENVIRONMENTS)
}

export const registerCodeEnvironment: CallHandler = () => {
  throw new AppError('ERR_NOT_SUPPORTED', NO_ENVIRONMENTS)
}

export const importModelArchive: CallHandler = () => {
  throw new AppError('ERR_NOT_SUPPORTED', NO_MODELS)
}

/** Nothing is cached, so nothing is left to clear. */
export const clearModelCache: CallHandler = () => done({ models: [] })
