// WebSocket text messages (docs/client-protocol.md, section Text messages). Pure.
import { ProtocolError } from "./errors.js"

/**
 * A message of the gateway. `content` is a string: the body.
 * @typedef {{ signal: string, topic: string | number, messageId: number, content: string, pushId: string }} Message
 */

/** @param {string} signal @param {unknown} [content] @param {number} [messageId] @param {string | number} [topic] */
export function encodeMessage(signal, content, messageId = 0, topic = "NONE") {
  return JSON.stringify({ signal, sub_signal: topic, message_id: messageId, content })
}

/** @param {unknown} data @returns {Message} @throws {ProtocolError} */
export function decodeMessage(data) {
  const said = decodeObject(typeof data === "string" ? data : "")
  if (typeof said.signal !== "string") throw new ProtocolError("the gateway sent what is no message")
  return {
    signal: said.signal,
    topic: said.sub_signal ?? "NONE",
    messageId: said.message_id ?? 0,
    content: said.content ?? "",
    pushId: said.push_id ?? "",
  }
}

/** A JSON object; {} for anything else. @param {string} text @returns {Record<string, any>} */
export function decodeObject(text) {
  try {
    const value = JSON.parse(text)
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : {}
  } catch {
    return {}
  }
}

/** Bytes of base64. @param {string} text */
export function decodeBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
}
