/**
 * The servers of one run: the node and its peers, started one after the other and all compared
 * before anything is timed. Those that are not measured at the moment only wait; that they do not
 * compute is checked before each measurement, as for anybody else on the machine.
 */

import { askFor, startConstant } from './constant.ts'
import { benchBody, type NodeServer, predictUrl, startNode } from './node-server.ts'
import type { LoadOrder } from './sample.ts'
import { type Server, startServer } from './servers.ts'
import { descriptionOf, workloadOf } from './workloads/workloads.ts'

export interface Lineup {
  readonly node: NodeServer
  readonly constant: Server
  readonly fastify: Server
  readonly inline: Server
  /** An order for a server, with what its callers must send. */
  order(server: Server, load: LoadShape): LoadOrder
  stop(): Promise<void>
}

type LoadShape = Omit<LoadOrder, 'url' | 'headers' | 'body'>

export async function startLineup(python: string): Promise<Lineup> {
  const started: { stop(): Promise<void> }[] = []
  const stop = async () => {
    for (const server of started.reverse()) await server.stop()
  }
  const keep = async <S extends Server>(starting: Promise<S>): Promise<S> => {
    const server = await starting
    started.push(server)
    return server
  }
  try {
    const node = await keep(startNode(python))
    const question = { url: predictUrl(node), headers: node.headers, body: benchBody() }
    const constant = await keep(startConstant(question))
    const model = [descriptionOf(workloadOf('mlp'))]
    const start = (name: string) =>
      keep(startServer({ name, script: `bench/peers/${name}.ts`, args: model }))
    const [fastify, inline] = [await start('fastify'), await start('inline')]
    await compareAnswers(node, [constant, fastify, inline])
    const order = (server: Server, load: LoadShape): LoadOrder => {
      const headers = server === node ? node.headers : NO_HEADERS
      return { ...load, url: predictUrl(server), headers, body: benchBody() }
    }
    return { node, constant, fastify, inline, order, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

const NO_HEADERS = {}

async function ask(server: Server, headers: Readonly<Record<string, string>>): Promise<string> {
  const question = { url: predictUrl(server), headers, body: benchBody() }
  return (await askFor(server.name, question)).text
}

interface Prediction {
  readonly prediction: string
  readonly probas: Readonly<Record<string, number>>
}

/** All must say the same, and the same keys, or they did not do the same work. */
async function compareAnswers(node: NodeServer, peers: readonly Server[]): Promise<void> {
  const expected = await answerOf(node, node.headers)
  for (const peer of peers) {
    const answer = await answerOf(peer, NO_HEADERS)
    const same =
      answer.keys === expected.keys &&
      answer.result.prediction === expected.result.prediction &&
      Object.entries(expected.result.probas).every(
        ([name, value]) => Math.abs(value - (answer.result.probas[name] ?? Number.NaN)) < 1e-6,
      )
    if (!same) {
      throw new Error(`${peer.name} answers ${answer.text}, the node ${expected.text}`)
    }
  }
}

async function answerOf(server: Server, headers: Readonly<Record<string, string>>) {
  const text = await ask(server, headers)
  const answer: { result: Prediction } = JSON.parse(text)
  const keys = [Object.keys(answer), Object.keys(answer.result)].flat().sort().join()
  return { text, keys, result: answer.result }
}
