// What the application gets: pushes and answers.
import { decodeBase64 } from "./messages.js"

/** One push. */
export class Push {
  /**
   * @param {string} id empty where the gateway did not grant ids
   * @param {string | Uint8Array} payload text; with the setting `binary` bytes
   * @param {string | number} topic NONE unless its sender said one
   * @param {boolean} notification a service's notification (PUBLISH) and not a PUSH; it is never stored
   */
  constructor(id, payload, topic, notification) {
    this.id = id
    this.payload = payload
    this.topic = topic
    this.notification = notification
  }

  /** The payload as text. */
  get text() {
    return typeof this.payload === "string" ? this.payload : new TextDecoder().decode(this.payload)
  }

  /** The payload as JSON. @returns {any} @throws {SyntaxError} */
  json() {
    return JSON.parse(this.text)
  }
}

/** What a service answered. */
export class Answer {
  /** @param {string} text */
  constructor(text) {
    this.text = text
  }

  /** @returns {any} @throws {SyntaxError} */
  json() {
    return JSON.parse(this.text)
  }
}

/** The push in a message. @param {import("./messages.js").Message} message @param {boolean} isBase64 */
export function pushOf(message, isBase64) {
  const payload = isBase64 ? decodeBase64(message.content) : message.content
  return new Push(message.pushId, payload, message.topic, message.signal === "PUBLISH")
}
