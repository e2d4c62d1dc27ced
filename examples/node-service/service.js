// A complete service for Node (docs/service-protocol.md): it answers PUBLISH with sub-signal GQ (26).
//
//     cd examples/node-service && npm install
//     node service.js [ipc:///srv/push/var/run/service-0.sock ...]      one endpoint for each router
//
// A client's {"ask": "..."} is answered by {"answer": "...", "token": "..."}; anything else by code 1.

import { randomBytes } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"
import { Dealer } from "zeromq"

const PUBLISH = 9, GQ = 26
const OK = 0, REFUSED = 1, NOBODY_KNOWS = 0xf3
const SERVE = JSON.stringify({
  name: "example-node",
  instance: randomBytes(8).toString("hex"),
  topics: [{ signal: PUBLISH, sub_signal: GQ, idempotent: true }],
  window: 64,
})

// One call: who asks is in `head` (token, uid, ...). Whatever it throws costs that call alone.
async function answer(head, body) {
  const { ask, after_ms: pause = 0 } = parse(body)
  if (typeof ask !== "string") return [REFUSED, JSON.stringify({ message: "ask what?" })]
  await sleep(pause)
  return [OK, JSON.stringify({ answer: ask.toUpperCase(), token: head.token })]
}

function parse(body) {
  try {
    return JSON.parse(body) ?? {}
  } catch {
    return {}
  }
}

// The link to one router. A DEALER that reconnects by itself would tell nobody, so a silent router gets a new one.
class Link {
  constructor(endpoint) {
    Object.assign(this, { endpoint, life: 0, calls: 0, leaving: false, lines: new Map() })
  }

  async run() {
    while (!this.leaving) {
      const socket = new Dealer({ linger: 500 }) // no routing id: ZeroMQ gives it a random one
      socket.connect(this.endpoint)
      Object.assign(this, { socket, sending: Promise.resolve(), heartbeat: 1000, silence: 5000 })
      this.serve()
      const beat = () => { this.send("BEAT1"); this.beats = setTimeout(beat, this.heartbeat) }
      this.beats = setTimeout(beat, this.heartbeat)
      await this.receive(socket)
      clearTimeout(this.beats)
      socket.close()
      if (!this.leaving) await sleep(200)
    }
  }

  // What came before is not answered any more: the router has given it away, or is another one.
  serve() {
    this.life++
    return this.send("SERVE1", SERVE)
  }

  // Until the router is silent for too long, or this service has left.
  async receive(socket) {
    for (;;) {
      socket.receiveTimeout = this.silence
      try {
        const [command, ...frames] = await socket.receive()
        this.handle(command.toString(), frames)
      } catch (error) {
        if (error.code !== "EAGAIN" && !socket.closed) throw error
        return
      }
    }
  }

  handle(command, frames) {
    if (command === "SERVING1") {
      const { heartbeat_ms, timeout_ms } = JSON.parse(frames[0])
      Object.assign(this, { heartbeat: heartbeat_ms, silence: timeout_ms })
      console.log(`serving at ${this.endpoint}`)
    } else if (command === "WHO1" && !this.leaving) {
      this.serve()
    } else if (command === "CALL1") {
      this.take(...frames)
    }
  }

  // Calls of one key are answered one after the other, others meanwhile. A heartbeat waits for none of them.
  take(number, head, body) {
    const said = JSON.parse(head), { life } = this
    const key = said.key ?? number
    this.calls++
    const line = (this.lines.get(key) ?? Promise.resolve())
      .then(() => answer(said, body))
      .catch((error) => { console.error(error); return [NOBODY_KNOWS, ""] })
      .then(([code, payload]) => life === this.life && this.send("RETURN1", number, Buffer.of(code), payload))
      .finally(() => {
        if (this.lines.get(key) === line) this.lines.delete(key)
        this.calls--
      })
    this.lines.set(key, line)
  }

  // A socket takes one message at a time.
  send(...frames) {
    const { socket } = this
    this.sending = this.sending.then(() => socket.closed || socket.send(frames)).catch(() => {})
    return this.sending
  }

  // No more calls; what it has is answered first. Those on their way come within a moment.
  async leave() {
    this.leaving = true
    await this.send("LEAVE1")
    do await sleep(200); while (this.calls > 0)
    await this.sending
    clearTimeout(this.beats)
    this.socket.close()
  }
}

const endpoints = process.argv.slice(2)
if (!endpoints.length) endpoints.push("ipc://var/run/service-0.sock")
const links = endpoints.map((endpoint) => new Link(endpoint))
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, () => Promise.all(links.map((link) => link.leave())))
}
await Promise.all(links.map((link) => link.run()))
