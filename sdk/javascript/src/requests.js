// Requests of the application: what waits, what awaits its answer, and for how long. Pure.
import { ConnectionLostError, QueueFullError, RefusedError, RequestTimeoutError, publishError } from "./errors.js"
import { decodeObject, encodeMessage } from "./messages.js"
import { Answer } from "./pushes.js"

const LAST_ID = 65_535

/** One PUBLISH or CONTACT; settled when it has an answer or an error. */
export class Request {
  sent = false
  /** @type {Answer | null} */
  answer = null
  /** @type {import("./errors.js").PushClientError | null} */
  error = null

  /**
   * @param {string} signal @param {string | number} topic @param {unknown} content
   * @param {{ now: number, timeoutMs: number, repeat: boolean }} how
   */
  constructor(signal, topic, content, { now, timeoutMs, repeat }) {
    this.signal = signal
    this.topic = topic
    this.content = content
    this.deadline = now + timeoutMs
    this.timeoutMs = timeoutMs
    this.repeat = repeat
  }

  get settled() {
    return this.answer !== null || this.error !== null
  }
}

/** At most `queueMax` wait, and `callsMax` await their answers: over that the gateway would stop reading. */
export class Requests {
  /** @type {Request[]} */
  #waiting = []
  /** @type {Map<number, Request>} */
  #inFlight = new Map()
  #lastId = 0
  refused = 0
  expired = 0

  /** @param {number} queueMax @param {number} callsMax */
  constructor(queueMax, callsMax) {
    this.queueMax = queueMax
    this.callsMax = callsMax
  }

  get inFlight() {
    return this.#inFlight.size
  }

  /** @param {Request} request @throws {QueueFullError} */
  add(request) {
    if (this.#waiting.length >= this.queueMax) {
      this.refused += 1
      throw new QueueFullError(this.queueMax)
    }
    this.#waiting.push(request)
  }

  /** What may go now, in the order of the calls. @returns {string[]} */
  messagesToSend() {
    const messages = []
    while (this.#waiting.length && this.#inFlight.size < this.callsMax) {
      const request = /** @type {Request} */ (this.#waiting.shift())
      request.sent = true
      const id = this.#nextId()
      this.#inFlight.set(id, request)
      messages.push(encodeMessage(request.signal, request.content, id, request.topic))
    }
    return messages
  }

  #nextId() {
    do this.#lastId = (this.#lastId % LAST_ID) + 1
    while (this.#inFlight.has(this.#lastId))
    return this.#lastId
  }

  /**
   * The request that PUB_ACK or CONTACT answers, settled; none if nobody waits for it any more.
   * @param {import("./messages.js").Message} message @returns {Request[]}
   */
  receiveAnswer({ signal, messageId, content }) {
    const request = this.#inFlight.get(messageId)
    this.#inFlight.delete(messageId)
    if (!request || request.settled) return []
    const said = decodeObject(content)
    if (signal === "CONTACT" && said.status !== 200) {
      request.error = new RefusedError("CONTACT", said.status, said.message ?? "")
    } else if (signal === "PUB_ACK" && isFault(said)) {
      request.error = publishError(said.code, said.message)
    } else {
      request.answer = new Answer(content)
    }
    return [request]
  }

  /** Fails what was sent, but for what may be repeated: that goes first on the next connection. @returns {Request[]} */
  connectionLost() {
    const open = [...this.#inFlight.values()].filter((request) => !request.settled)
    this.#inFlight.clear()
    this.#waiting.unshift(...open.filter((request) => request.repeat))
    const failed = open.filter((request) => !request.repeat)
    for (const request of failed) request.error = new ConnectionLostError()
    return failed
  }

  /**
   * Fails what is over its time. The number of one that was sent stays taken until its answer comes.
   * @param {number} now @returns {Request[]}
   */
  expire(now) {
    const late = this.#unsettled().filter((request) => request.deadline <= now)
    for (const request of late) request.error = new RequestTimeoutError(request.timeoutMs, request.sent)
    this.expired += late.length
    if (late.length) this.#waiting = this.#waiting.filter((request) => !request.settled)
    return late
  }

  nextDeadline() {
    return Math.min(...this.#unsettled().map((request) => request.deadline))
  }

  /** Nothing is sent any more. @param {import("./errors.js").PushClientError} error @returns {Request[]} */
  failAll(error) {
    const failed = this.#unsettled()
    for (const request of failed) request.error = error
    this.#inFlight.clear()
    this.#waiting = []
    return failed
  }

  #unsettled() {
    return [...this.#inFlight.values(), ...this.#waiting].filter((request) => !request.settled)
  }
}

/** Whether a PUB_ACK's content is the gateway's form for codes other than 0. @param {Record<string, any>} said */
function isFault(said) {
  return said.code >= 1 && said.code <= 255 && typeof said.message === "string" && Object.keys(said).length === 2
}
