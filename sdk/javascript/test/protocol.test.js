import assert from "node:assert/strict"
import { test } from "node:test"
import { settingsOf } from "../src/options.js"
import { Protocol } from "../src/protocol.js"

const message = (signal, content, more = {}) => JSON.stringify({ signal, content: JSON.stringify(content), ...more })
const push = (id, messageId) => JSON.stringify({ signal: "PUSH", message_id: messageId, content: "x", push_id: id })
const kinds = (actions) => actions.map((action) => action.do)

function bound(settings = {}, chance = 0.5) {
  const protocol = new Protocol(settingsOf({ token: "alice", ...settings }), { chance: () => chance })
  protocol.start(0)
  protocol.opened()
  protocol.receive(message("SUB", { status: 200, token: "alice", granted: ["ack", "ids"] }), 0)
  protocol.takeActions()
  return protocol
}

test("a push is acknowledged when it was handled, a copy at once and without the handler", () => {
  const protocol = bound()
  protocol.receive(push("a-0", 1), 1)
  assert.deepEqual(kinds(protocol.takeActions()), ["deliver"])
  protocol.handled("a-0", null, 2)
  assert.match(protocol.takeActions()[0].text, /PUB_ACK.*"message_id":1/)
  protocol.receive(push("a-0", 2), 3)
  assert.deepEqual(kinds(protocol.takeActions()), ["send"])
  assert.equal(protocol.statistics.duplicates, 1)
})

test("a push whose handler failed is not acknowledged", () => {
  const protocol = bound()
  protocol.receive(push("a-0", 1), 1)
  protocol.takeActions()
  protocol.handled("a-0", { cause: new Error("no") }, 2)
  assert.deepEqual(kinds(protocol.takeActions()), ["fault"])
})

test("retry_after_ms is kept to, and other pauses are by chance", () => {
  const protocol = bound()
  protocol.receive(message("DISCONNECT", { reason: "shutdown", retry_after_ms: 7000 }), 0)
  assert.equal(protocol.status.retryInMs, 7000)
  const other = bound()
  other.lost("ended", 0)
  assert.equal(other.status.retryInMs, 250)
})

test("replaced and a refused SUB are the end", () => {
  const protocol = bound()
  protocol.receive(message("DISCONNECT", { reason: "replaced" }), 0)
  assert.equal(protocol.status.state, "closed")
  const other = bound()
  other.receive(message("SUB", { status: 403, message: "no" }), 0)
  assert.deepEqual([other.status.state, other.status.reason], ["closed", "rejected"])
})

test("silence after a PING ends the connection", () => {
  const protocol = bound()
  protocol.tick(9_999)
  assert.equal(protocol.status.state, "connected")
  protocol.tick(10_000)
  assert.deepEqual([protocol.status.state, protocol.status.reason], ["waiting", "silent"])
})

test("the queue of requests is bounded", () => {
  const protocol = new Protocol(settingsOf({ queueMax: 1 }), { chance: () => 0 })
  protocol.start(0)
  protocol.request("PUBLISH", "GQ", {}, 0)
  assert.throws(() => protocol.request("PUBLISH", "GQ", {}, 0), { name: "QueueFullError" })
})
