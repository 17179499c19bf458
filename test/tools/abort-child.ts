/** A child that says what it does and then ends as a crash of native code would. */

process.once('message', () => {
  process.send?.({ kind: 'progress', label: 'loading m.onnx', done: null }, undefined, {}, () => {
    process.stderr.write('Error: the native code gave up\n', () => process.abort())
  })
})
