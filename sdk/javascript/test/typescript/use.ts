// What an application in TypeScript writes: it must compile, and what is marked must not.
import { WebSocket } from "ws"
import { Client, NotAvailableError, type Push, type Status } from "push-gateway-client"

const client = new Client("ws://127.0.0.1:6789/", {
  token: "alice",
  credential: async () => "a.b.c",
  requestTimeoutMs: 5000,
  WebSocket,
})
client
  .on("push", async (push: Push) => console.log(push.id.length, push.text.length))
  .on("state", (status: Status) => console.log(status.state === "waiting" ? status.retryInMs : status.reason))
  .on("error", (error) => console.log(error instanceof NotAvailableError, error.message))
await client.connect()
const answer = await client.publish("GQ", { q: 1 }, { timeoutMs: 100, repeat: true })
console.log(answer.text)
await client.contact({ to: "bob", message: { hello: 1 } })
await client.close({ clearSession: true })

// @ts-expect-error there is no such setting
new Client("ws://127.0.0.1:6789/", { tokens: "alice" })
// @ts-expect-error nor such an event
client.on("pushes", () => {})
// @ts-expect-error a token is text
new Client("ws://127.0.0.1:6789/", { token: 7 })
