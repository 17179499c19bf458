/** Goal: no name leads the node to where no stranger could ask. Method: addresses of every kind. */

import t from 'tap'
import { mayConnect } from '../../../core/auth/addresses.ts'

const PUBLIC = ['93.184.215.14', '1.1.1.1', '2606:4700:4700::1111']
const INSIDE = [
  ...['10.1.2.3', '100.64.0.1', '127.0.0.1', '127.9.9.9', '172.16.0.1', '172.31.255.255'],
  ...['192.168.1.1', '::1', 'fd00::1', '::ffff:127.0.0.1', '::ffff:10.0.0.1'],
]
/** The metadata of clouds is at 169.254.169.254. */
const NEVER = [
  ...['169.254.169.254', '0.0.0.0', '224.0.0.1', '255.255.255.255', '192.0.2.1', '198.18.0.1'],
  ...['::', 'fe80::1', 'ff02::1', '2002:7f00:1::', '64:ff9b::7f00:1', '::ffff:169.254.169.254'],
  ...['fe80::1%eth0', 'localhost', ''],
]

t.test('without allowPrivate: public addresses alone', async (t) => {
  const may = (address: string) => mayConnect(address, { allowPrivate: false, loopbackOnly: false })
  for (const address of PUBLIC) t.ok(may(address), address)
  for (const address of [...INSIDE, ...NEVER]) t.notOk(may(address), address)
})

t.test('with it: those of the own network too, and never those of nobody', async (t) => {
  const may = (address: string) => mayConnect(address, { allowPrivate: true, loopbackOnly: false })
  for (const address of [...PUBLIC, ...INSIDE]) t.ok(may(address), address)
  for (const address of NEVER) t.notOk(may(address), address)
})

t.test('without TLS: this machine alone', async (t) => {
  const may = (address: string, allowPrivate: boolean) =>
    mayConnect(address, { allowPrivate, loopbackOnly: true })
  for (const address of ['127.0.0.1', '::1']) {
    t.ok(may(address, true))
    t.notOk(may(address, false))
  }
  for (const address of [...PUBLIC, '10.0.0.1', 'fd00::1']) t.notOk(may(address, true), address)
})
