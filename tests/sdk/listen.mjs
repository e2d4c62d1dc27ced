// Prints the payload of each push: node listen.mjs URL TOKEN
import { Client } from "../../sdk/javascript/src/index.js"

const [url, token] = process.argv.slice(2)
new Client(url, { token })
  .on("push", (push) => console.log(push.text))
  .on("state", ({ state }) => state === "connected" && console.log("connected"))
  .on("error", (error) => console.log(String(error)))
  .connect()
