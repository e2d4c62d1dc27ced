// Prints each push, and asks a service for its greeting: node listen.mjs HOST PORT TOKEN
import { Client, NotAvailableError } from "../src/index.js"

// Node has a global WebSocket from version 22 on; before, one is to be given. `npm install ws` has it.
const WebSocket = globalThis.WebSocket ?? (await import("ws")).WebSocket
const [host, port, token] = process.argv.slice(2)

const client = new Client(`ws://${host}:${port}/`, { token, WebSocket })
const connected = new Promise((resolve) => {
  client.on("state", ({ state, reason }) => {
    console.log(state, reason)
    if (state === "connected") resolve()
  })
})
client.on("push", (push) => console.log(`${push.id}: ${push.text}`)) // it is acknowledged when this is done
await client.connect()
await connected
try {
  console.log("answer:", (await client.publish("FP", { q: 1 })).text)
} catch (error) {
  if (!(error instanceof NotAvailableError)) throw error
  console.log("no service has this topic")
}
