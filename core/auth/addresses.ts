/**
 * Where the keys of an issuer may be fetched from. A name that leads into the operator's own
 * network would make the node ask, in its own name, what no stranger can reach: so every
 * address that it resolves to is looked at, at the moment of connecting.
 */

import { BlockList, isIP } from 'node:net'

/** For a setting that allows it: the operator's own networks. */
const PRIVATE = blockList([
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['::1', 128],
  ['fc00::', 7],
])

/** Never: nobody's address, addresses of the link (metadata of clouds is there), and of many. */
const NEVER = blockList([
  ['0.0.0.0', 8],
  ['169.254.0.0', 16],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
  // Teredo, documentation and 6to4: the last and the first hide an address of IPv4.
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
])

/** What is in use on the public network of IPv6. */
const GLOBAL_IPV6 = blockList([['2000::', 3]])
const LOOPBACK = blockList([
  ['127.0.0.0', 8],
  ['::1', 128],
])

function blockList(subnets: readonly (readonly [string, number])[]): BlockList {
  const list = new BlockList()
  for (const [network, bits] of subnets) list.addSubnet(network, bits, familyOf(network))
  return list
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4'
}

export interface Reach {
  readonly allowPrivate: boolean
  /** Nothing but this machine: for http, which anyone on the way could change. */
  readonly loopbackOnly: boolean
}

export function mayConnect(address: string, { allowPrivate, loopbackOnly }: Reach): boolean {
  const family = familyOf(address)
  if (isIP(address) === 0) return false
  if (loopbackOnly) return allowPrivate && LOOPBACK.check(address, family)
  if (PRIVATE.check(address, family)) return allowPrivate
  if (NEVER.check(address, family)) return false
  return family === 'ipv4' || GLOBAL_IPV6.check(address, family)
}
