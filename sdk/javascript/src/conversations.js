// One connection: what is said first, what its messages are, when it is dead. Pure; times are monotonic milliseconds.
import { Heartbeat } from "./heartbeat.js"
import { decodeMessage, decodeObject, encodeMessage } from "./messages.js"

/** @typedef {import("./messages.js").Message} Message */

/** From opening to the end. `number` tells connections of one client apart. */
export class Conversation {
  /** @type {number | null} */
  boundAt = null
  /** @type {Set<string>} */
  granted = new Set()
  #settings
  #boundBy

  /** @param {number} number @param {import("./options.js").Settings} settings @param {number} now */
  constructor(number, settings, now) {
    this.number = number
    this.heartbeat = new Heartbeat(settings.intervalMs, settings.answerTimeoutMs)
    this.#settings = settings
    this.#boundBy = now + settings.connectTimeoutMs
  }

  /**
   * AUTH, if there is a credential, and SUB; the gateway reads the second when it has answered the first.
   * @param {string | null} token @param {string | null} credential
   */
  opening(token, credential) {
    const sub = {
      token: token ?? undefined,
      uid: this.#settings.uid ?? undefined,
      ack: true,
      ids: true,
      encoding: this.#settings.binary ? "base64" : undefined,
    }
    const messages = [encodeMessage("SUB", sub)]
    if (credential !== null) messages.unshift(encodeMessage("AUTH", { credential }))
    return messages
  }

  /** @param {unknown} data @returns {Message} @throws {import("./errors.js").ProtocolError} */
  receive(data) {
    this.heartbeat.heard()
    return decodeMessage(data)
  }

  /** SUB was answered with 200; the token. @param {Message} answer @param {number} now @returns {string | null} */
  bind(answer, now) {
    const { token, granted } = decodeObject(answer.content)
    this.granted = new Set(Array.isArray(granted) ? granted : [])
    this.boundAt = now
    this.#boundBy = Infinity
    this.heartbeat.start(now)
    return typeof token === "string" ? token : null
  }

  /** PING was answered. @param {Message} answer */
  pong(answer) {
    this.heartbeat.answered(1000 * decodeObject(answer.content).interval)
  }

  /** What is to be said now, if anything. @param {number} now @returns {string[]} */
  ping(now) {
    return this.heartbeat.due(now) ? [encodeMessage("PING", { interval: this.#settings.intervalMs / 1000 })] : []
  }

  /** Why it is to be given up, if so. @param {number} now */
  dead(now) {
    if (now >= this.#boundBy) return "connect_timeout"
    return this.heartbeat.dead(now) ? "silent" : ""
  }

  nextDeadline() {
    return Math.min(this.#boundBy, this.heartbeat.nextDeadline())
  }
}
