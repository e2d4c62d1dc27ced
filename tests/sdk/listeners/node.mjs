// node.mjs HOST PORT SETTINGS: as threads.py. SDK is the directory of the package, with its node_modules: WebSocket is that
// of `ws`, as for a Node that has none.
import { createRequire } from "node:module"
import { createInterface } from "node:readline"
import { pathToFileURL } from "node:url"

const sdk = process.env.SDK
const { Client } = await import(pathToFileURL(`${sdk}/src/index.js`))
const { WebSocket } = createRequire(`${sdk}/package.json`)("ws")
const [host, port, said] = process.argv.slice(2)
const { credentials, ...settings } = JSON.parse(said)
const tell = (what) => console.log(JSON.stringify(what))

function fetchNext() {
  const given = credentials.length > 1 ? credentials.shift() : credentials[0]
  tell({ fetched: given !== null })
  if (given === null) throw new Error("no credential today")
  return given
}

if (credentials) settings.credential = fetchNext
const milliseconds = ([name, value]) => [
  name.replace(/_s$/, "_ms").replace(/_(.)/g, (_, letter) => letter.toUpperCase()),
  name.endsWith("_s") ? value * 1000 : value,
]
const client = new Client(`ws://${host}:${port}/`, {
  ...Object.fromEntries(Object.entries(settings).map(milliseconds)),
  WebSocket,
})
client
  .on("push", (push) => tell({ push: push.text }))
  .on("state", ({ state, reason, retryInMs }) => tell({ state, reason, pause_s: retryInMs / 1000 }))
  .on("error", (error) => tell({ error: error.name }))
await client.connect()
for await (const topic of createInterface({ input: process.stdin })) {
  client.publish(topic.trim()).then(
    (answer) => tell({ answer: answer.text }),
    (error) => tell({ failed: error.name }),
  )
}
await client.close()
