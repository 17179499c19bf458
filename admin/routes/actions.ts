/**
 * What operators' programs of the other dialect do to a service, beside the routes of services.ts
 * and generations.ts: the same operations under `actions/`, and those that only it has.
 */

import { AppError } from '../../core/base/errors.ts'
import type { MappingEntry } from '../../core/channel/messages.ts'
import { done } from './answers.ts'
import { BodyReader, MappingSchema } from './bodies.ts'
import type { CallHandler } from './call.ts'
import { disableService, enableService } from './services.ts'

export const enableServiceAction = enableService
export const disableServiceAction = disableService

const mappingBody = new BodyReader(MappingSchema)

export const setMapping: CallHandler = async ({ api, params, body, actor }) => {
  const { serviceId = '' } = params
  const { entries } = mappingBody.read(body)
  const mapping = entries.map(({ generation, generations, proba }, index): MappingEntry => {
    const generationId = generation ?? generations
    if (generationId !== undefined) return { generationId, proba }
    throw new AppError('ERR_MAPPING_INVALID', `entries[${index}]: "generation" is missing`)
  })
  await api.operations.setMapping({ serviceId, mapping, actor })
  return done({ mapping: api.operations.getService(serviceId).mapping })
}

export const switchToNewest: CallHandler = async ({ api, params, actor }) => {
  const generation = await api.operations.switchToNewest(params['serviceId'] ?? '', actor)
  return done({ generation })
}

export const switchToGeneration: CallHandler = async ({ api, params, actor }) => {
  const { serviceId = '', generationId = '' } = params
  await api.operations.switchAndEnable({ serviceId, generationId }, actor)
  return done({ generation: generationId })
}
