/** Schemas that the answers and requests of all endpoints share; only those in use are written. */

import { type Json, nullable, object, ref } from './json.ts'

const number = { type: 'number' }
const string = { type: 'string' }

const faults = {
  type: 'array',
  items: object({ path: string, reason: string }, ['path', 'reason']),
  description: 'Every fault, where there is more than one to tell of.',
}

const ERROR_SCHEMA: Json = {
  ...object(
    {
      errorType: string,
      message: string,
      detailedMessage: { type: 'string', description: 'What is wrong here, and with which field.' },
      code: { type: 'string', description: 'Stable: to be matched on.' },
      requestId: string,
      faults,
    },
    ['errorType', 'message', 'detailedMessage', 'code', 'requestId'],
  ),
  description: 'Every failed request is answered with this object.',
}

export const SHARED_SCHEMAS: Readonly<Record<string, Json>> = {
  Error: ERROR_SCHEMA,
  Timing: {
    type: 'object',
    description: 'Milliseconds, by step; `wait` is the time in the queue.',
    additionalProperties: number,
  },
  ApiContext: object({ serviceId: string, endpointId: string, serviceGeneration: string }, [
    'serviceId',
    'endpointId',
    'serviceGeneration',
  ]),
  Dispatch: {
    ...object({
      forcedGeneration: nullable({
        type: 'string',
        description: 'Id of the generation that is to answer.',
      }),
      dispatchKey: nullable({
        type: 'string',
        description: 'Requests with the same key are answered by the same generation.',
      }),
    }),
    description: 'Which generation answers, where the service has several.',
  },
  Context: {
    type: 'object',
    description: 'Logged with the request, never used for computing.',
    additionalProperties: true,
  },
  ExplanationOptions: {
    ...object({
      enabled: nullable({ type: 'boolean' }),
      method: nullable({ type: 'string', enum: ['SHAPLEY', 'ICE'] }),
      nExplanations: nullable({
        type: 'integer',
        minimum: 1,
        description: 'Features with the largest influence.',
      }),
      nMonteCarloSteps: nullable({
        type: 'integer',
        minimum: 25,
        maximum: 1000,
        description: 'SHAPLEY only: more steps are slower and more exact.',
      }),
    }),
    description: 'Null or absent: as the endpoint is configured.',
  },
  Override: {
    ...object(
      {
        ruleMatched: { type: 'boolean' },
        appliedRule: string,
        rawResult: {
          type: 'object',
          description: 'What the model itself has predicted.',
          additionalProperties: true,
        },
        predictionChanged: { type: 'boolean' },
      },
      ['ruleMatched'],
    ),
    description: 'Whether a rule of the endpoint has changed the prediction.',
  },
  RowError: object({ code: string, message: string }, ['code', 'message']),
}

/** An answer: its own part, then what every answer has. */
export function envelope(own: Readonly<Record<string, Json>>, required: readonly string[]): Json {
  const properties = { ...own, timing: ref('Timing'), apiContext: ref('ApiContext') }
  return object(properties, [...required, 'timing', 'apiContext'])
}

/** What an answer says of a row that was not computed. */
export const IGNORED: Readonly<Record<string, Json>> = {
  ignored: { type: 'boolean', description: 'True: there is no answer for this row.' },
  ignoreReason: string,
}
