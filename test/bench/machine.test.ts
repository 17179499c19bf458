/**
 * Goal: CPU time and memory of a server are those of its whole tree of processes, since some peers
 * do all their work in grandchildren. Method: a tree made up by hand, the kernel's text as it is,
 * and a real process whose child computes and holds memory.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { descendantsOf, kilobytesIn, machine } from '../../bench/machine.ts'

t.test('descendants are found in any order, strangers are not', async (t) => {
  const all = [
    { pid: 40, parent: 30 },
    { pid: 30, parent: 20 },
    { pid: 20, parent: 10 },
    { pid: 21, parent: 11 },
    { pid: 10, parent: 1 },
  ]
  const pids = (root: number) => descendantsOf(root, all).map(({ pid }) => pid)
  t.same(pids(20), [40, 30, 20])
  t.same(pids(21), [21])
  t.same(pids(99), [])
})

t.test('fields of smaps_rollup are read by their whole name', async (t) => {
  const text =
    'Rss:                5120 kB\nPss:                1024 kB\nPss_Anon:  7 kB\nSwapPss: 3 kB\n'
  t.equal(kilobytesIn(text, 'Pss'), 1_024)
  t.equal(kilobytesIn(text, 'Rss'), 5_120)
  t.equal(kilobytesIn(text, 'Private_Dirty'), 0)
})

const CHILD = `
const held = Buffer.alloc(64 * 2 ** 20, 1)
const end = process.cpuUsage().user + 300_000
while (process.cpuUsage().user < end);
console.log('done')
setInterval(() => held[0], 1_000)`
const PARENT = `
const { spawn } = require('node:child_process')
spawn(process.execPath, ['-e', ${JSON.stringify(CHILD)}], { stdio: 'inherit' })`

t.test('work and memory of a child count', { skip: process.platform !== 'linux' }, async (t) => {
  const { usage, memory } = machine()
  const parent = spawn(process.execPath, ['-e', PARENT], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  })
  const pid = parent.pid ?? 0
  try {
    await once(parent.stdout, 'data')
    t.ok(usage(pid).cpuS >= 0.3, `${usage(pid).cpuS} s of CPU`)
    const seen = memory(pid)
    t.ok(seen.own > 64 * 2 ** 20, `${seen.own} bytes of its own`)
    t.ok(seen.pss >= seen.own && seen.rss >= seen.pss, 'each counts what the one before does')
    t.same(machine().memory(2 ** 30), { rss: 0, pss: 0, own: 0 }, 'nobody has this number')
  } finally {
    process.kill(-pid, 'SIGKILL')
    await once(parent, 'exit')
  }
})
