/**
 * Goal: the set-up installs the same peers next year. Method: every line of every list of
 * requirements must be a pin, and a line that is none must be refused with its text.
 */

import t from 'tap'
import { ENVIRONMENTS, environmentPins, pinsOf } from '../../bench/environments.ts'

t.test('every requirement of every environment is pinned', async (t) => {
  const wanted = {
    fastapi: ['fastapi', 'uvicorn', 'litserve', 'onnxruntime', 'scikit-learn', 'numpy'],
    mlserver: ['mlserver', 'onnxruntime', 'numpy'],
    bentoml: ['bentoml', 'onnxruntime', 'numpy'],
    pytriton: ['nvidia-pytriton', 'onnxruntime', 'numpy'],
  }
  for (const name of ENVIRONMENTS) {
    const pins = environmentPins(name)
    for (const peer of wanted[name]) t.ok(pins.has(peer), `${name} pins ${peer}`)
  }
  const runtimes = ENVIRONMENTS.map((name) => environmentPins(name).get('onnxruntime'))
  t.equal(new Set(runtimes).size, 1, 'all peers run the same ONNX Runtime')
})

t.test('what pins nothing is refused', async (t) => {
  t.same(
    [...pinsOf('# a comment\n\nFastAPI==0.1.0\n a.b-c==1!2.0+cpu \n')],
    [
      ['fastapi', '0.1.0'],
      ['a.b-c', '1!2.0+cpu'],
    ],
  )
  for (const line of ['fastapi', 'fastapi>=1', 'fastapi==1.*', '-r other.txt', 'a @ file:b.whl']) {
    t.throws(() => pinsOf(line), new RegExp(`"${line.replace(/[.*]/g, '\\$&')}" is no pin`), line)
  }
})
