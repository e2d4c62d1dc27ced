// A client's whole life, over all its connections, without I/O: what happens goes in, actions come out.
//
// Whoever carries it out calls a method for what has happened, then does what `takeActions` gives, in order; and calls
// `tick` when `nextDeadline` has come. `now` is monotonic milliseconds. Of an earlier connection it hears nothing more.
import { Backoff } from "./backoff.js"
import { Conversation } from "./conversations.js"
import { Credentials } from "./credentials.js"
import { Deliveries } from "./deliveries.js"
import { CREDENTIAL_EXPIRED, isFinal } from "./endings.js"
import * as errors from "./errors.js"
import { decodeObject, encodeMessage } from "./messages.js"
import { pushOf } from "./pushes.js"
import { RecentIds } from "./recent_ids.js"
import { Request, Requests } from "./requests.js"

/** @typedef {import("./deliveries.js").Receipt} Receipt */
/** @typedef {import("./messages.js").Message} Message */
/** @typedef {"new" | "connecting" | "connected" | "waiting" | "closed"} State */
/**
 * A state, why, and with `waiting` the time until the next attempt. `token` is null until one is known.
 * @typedef {{ state: State, reason: string, retryInMs: number, token: string | null }} Status
 */
/**
 * connect: open a connection, then call `opened` or `lost`. disconnect: close it, and report nothing more about it.
 * send: a text for it. fetch: ask the application, then call `credentialFetched` or `credentialFailed`. deliver: have a
 * push handled, then call `handled`. settle: a request has its answer or error. report, fault: tell the application.
 * @typedef {{ do: "connect" } | { do: "disconnect" } | { do: "send", text: string } | { do: "fetch" }
 *   | { do: "deliver", push: import("./pushes.js").Push } | { do: "settle", request: Request }
 *   | { do: "report", status: Status } | { do: "fault", error: errors.PushClientError }} Action
 */
/**
 * What a client has counted. `duplicates`: copies that were recognised, and not given to the handler. `failed`: pushes
 * whose handler failed. `dropped`: pushes, because of the full inbox. `refused`, `expired`: requests, because of the full
 * queue, and over their time.
 * @typedef {{ connections: number, pushes: number, duplicates: number, acknowledged: number, failed: number,
 *   dropped: number, refused: number, expired: number }} Statistics
 */

export class Protocol {
  /** @type {Conversation | null} */
  #connection = null
  #opened = false
  #connections = 0
  #acknowledged = 0
  #retryAt = Infinity
  #fetchedBy = Infinity
  #renewing = false
  /** @type {Action[]} */
  #actions = []
  #settings
  #backoff
  #credentials
  #deliveries
  #requests

  /**
   * @param {import("./options.js").Settings} settings
   * @param {{ chance: () => number, credential?: string | null, canFetch?: boolean, recent?: Iterable<string> }} given
   *   `recent`: ids of pushes handled in earlier lives
   */
  constructor(settings, { chance, credential = null, canFetch = false, recent = [] }) {
    this.token = settings.token
    /** @type {Status} */
    this.status = { state: "new", reason: "", retryInMs: 0, token: settings.token }
    this.#settings = settings
    this.#backoff = new Backoff(settings.backoffMs, settings.backoffMaxMs, chance)
    this.#credentials = new Credentials(credential, canFetch, settings.renewMarginMs)
    this.#deliveries = new Deliveries(settings.inboxMax, new RecentIds(settings.recentMax, recent))
    this.#requests = new Requests(settings.queueMax, settings.callsMax)
  }

  // --- what the shell asks

  /** What is to be done now. */
  takeActions() {
    const actions = this.#actions
    this.#actions = []
    return actions
  }

  /** When to call `tick`; never later. */
  nextDeadline() {
    const renewAt = this.#bound && !this.#renewing ? this.#credentials.renewAt : Infinity
    const dead = this.#connection?.nextDeadline() ?? Infinity
    return Math.min(this.#retryAt, this.#fetchedBy, this.#requests.nextDeadline(), dead, renewAt)
  }

  /** @returns {Statistics} */
  get statistics() {
    const { received: pushes, duplicates, failed, dropped } = this.#deliveries
    const { refused, expired } = this.#requests
    const counted = { connections: this.#connections, acknowledged: this.#acknowledged }
    return { ...counted, pushes, duplicates, failed, dropped, refused, expired }
  }

  /** Which id is forgotten when this one is remembered; for whoever keeps them too. @param {string} pushId */
  forgottenBy(pushId) {
    return this.#deliveries.recent.forgottenBy(pushId)
  }

  // --- what has happened

  /** @param {number} now */
  start(now) {
    if (this.status.state === "new") this.#connect(now)
  }

  /** The connection is there. */
  opened() {
    if (!this.#connection || this.#opened) return
    this.#opened = true
    this.#send(this.#connection.opening(this.token, this.#credentials.current))
  }

  /** A message has come over the connection. @param {unknown} data @param {number} now */
  receive(data, now) {
    if (!this.#connection) return
    try {
      this.#receiveMessage(this.#connection.receive(data), this.#connection, now)
    } catch (error) {
      if (!(error instanceof errors.ProtocolError)) throw error
      this.#actions.push({ do: "fault", error })
      this.#lost("bad_protocol_of_gateway", now)
    }
    this.#pump(now)
  }

  /**
   * The connection has ended, or could not be opened: `reason` is a word of the gateway's, or `ended`.
   * @param {string} reason @param {number} now
   */
  lost(reason, now) {
    if (this.#connection) this.#lost(reason, now)
  }

  /** The application gave one. @param {string} credential @param {number} now @param {number} unixMs */
  credentialFetched(credential, now, unixMs) {
    if (this.#fetchedBy === Infinity) return // too late
    this.#fetchedBy = Infinity
    const isNew = this.#credentials.fetched(credential, now, unixMs)
    if (this.status.state === "connecting" && !this.#connection) this.#open(now)
    else if (this.#bound && isNew) {
      this.#renewing = true
      this.#pump(now)
    }
  }

  /** The application's function failed. @param {unknown} cause @param {number} now */
  credentialFailed(cause, now) {
    if (this.#fetchedBy === Infinity) return
    this.#fetchedBy = Infinity
    const said = cause ? "the function for credentials failed" : "no credential in time"
    this.#actions.push({ do: "fault", error: new errors.CredentialError(said, { cause }) })
    if (this.#connection) this.#credentials.renewAt = now + this.#backoff.pause()
    else if (this.status.state === "connecting") this.#wait("no_credential", now)
  }

  /**
   * The push of the last `deliver` has been handled; with a failure it is not acknowledged.
   * @param {string} pushId @param {{ cause: unknown } | null} failure @param {number} now
   */
  handled(pushId, failure, now) {
    const receipt = this.#deliveries.handled(!failure)
    if (failure) this.#actions.push({ do: "fault", error: new errors.HandlerError(pushId, failure.cause) })
    else this.#acknowledge(receipt)
    this.#pump(now)
  }

  /**
   * A request. Later errors are in it, and there will be a `settle` for it.
   * @param {"PUBLISH" | "CONTACT"} signal @param {string | number} topic @param {unknown} content @param {number} now
   * @param {{ timeoutMs?: number, repeat?: boolean }} [how]
   * @throws {errors.RequestError | errors.ClosedError}
   */
  request(signal, topic, content, now, { timeoutMs = this.#settings.requestTimeoutMs, repeat = false } = {}) {
    if (this.status.state === "closed") throw new errors.ClosedError(this.status.reason)
    const size = new TextEncoder().encode(JSON.stringify(content) ?? "").length
    if (size > this.#settings.bodyLimitBytes) throw new errors.BodyTooLargeError(size, this.#settings.bodyLimitBytes)
    const request = new Request(signal, topic, content, { now, timeoutMs, repeat })
    this.#requests.add(request)
    this.#pump(now)
    return request
  }

  /** No further push goes to the handler: the client is about to close. The one being handled may finish. */
  stopDeliveries() {
    this.#deliveries.stop()
  }

  /** The end. Harmless if it has come already. */
  close(clearSession = false) {
    if (this.status.state === "closed") return
    if (this.#opened) this.#send([encodeMessage("DISCONNECT", { clearSession: Number(clearSession) })])
    this.#dropConnection()
    this.#finish("closed")
  }

  /** Time has passed. @param {number} now */
  tick(now) {
    if (now >= this.#retryAt) this.#connect(now)
    if (now >= this.#fetchedBy) this.credentialFailed(null, now)
    this.#settle(this.#requests.expire(now))
    const why = this.#connection?.dead(now)
    if (why) this.#lost(why, now)
    else if (this.#connection) this.#send(this.#connection.ping(now))
    const renews = this.#bound && !this.#renewing && this.#fetchedBy === Infinity
    if (renews && now >= this.#credentials.renewAt) this.#fetch(now)
    this.#pump(now)
  }

  // --- connections

  get #bound() {
    return this.status.state === "connected"
  }

  /** @param {number} now */
  #connect(now, reason = "") {
    this.#retryAt = Infinity
    this.#report("connecting", reason)
    if (this.#credentials.missing) this.#fetch(now)
    else this.#open(now)
  }

  /** @param {number} now */
  #open(now) {
    this.#connections += 1
    this.#opened = false
    this.#connection = new Conversation(this.#connections, this.#settings, now)
    this.#actions.push({ do: "connect" })
  }

  /** @param {number} now */
  #fetch(now) {
    if (this.#fetchedBy !== Infinity) return
    this.#fetchedBy = now + this.#settings.connectTimeoutMs
    this.#actions.push({ do: "fetch" })
  }

  #dropConnection() {
    this.#connection = null
    this.#opened = this.#renewing = false
    this.#actions.push({ do: "disconnect" })
    this.#settle(this.#requests.connectionLost())
  }

  /** @param {string} reason @param {number} now @param {number | null} retryAfterMs */
  #lost(reason, now, retryAfterMs = null) {
    const boundAt = this.#connection?.boundAt ?? null
    if (boundAt !== null && now - boundAt >= this.#settings.stableMs) this.#backoff.reset()
    this.#dropConnection()
    if (isFinal(reason, this.#credentials.canFetch)) {
      this.#actions.push({ do: "fault", error: new errors.DisconnectedError(reason) })
      this.#finish(reason)
      return
    }
    if (reason === CREDENTIAL_EXPIRED) this.#credentials.forget()
    this.#wait(reason, now, retryAfterMs)
  }

  /** @param {string} reason @param {number} now @param {number | null} retryAfterMs */
  #wait(reason, now, retryAfterMs = null) {
    const pause = this.#backoff.pause(retryAfterMs)
    this.#retryAt = now + pause
    this.#report("waiting", reason, pause)
  }

  /** @param {string} what @param {Record<string, any>} answer @param {number} now */
  #refused(what, { status, message = "" }, now) {
    if (status === 503) {
      this.#lost("unavailable", now)
      return
    }
    this.#dropConnection()
    if (what === "AUTH" && status === 401 && this.#credentials.refused()) {
      this.#wait("rejected", now)
    } else {
      this.#actions.push({ do: "fault", error: new errors.RefusedError(what, status, message) })
      this.#finish("rejected")
    }
  }

  /** @param {string} reason */
  #finish(reason) {
    this.#retryAt = this.#fetchedBy = Infinity
    this.#settle(this.#requests.failAll(new errors.ClosedError(reason)))
    this.#deliveries.stop()
    this.#report("closed", reason)
  }

  // --- messages

  /** @param {Message} message @param {Conversation} connection @param {number} now */
  #receiveMessage(message, connection, now) {
    const { signal } = message
    if (signal === "PUSH" || signal === "PUBLISH") this.#receivePush(message, connection)
    else if (signal === "PUB_ACK" || signal === "CONTACT") this.#settle(this.#requests.receiveAnswer(message))
    else if (signal === "PING") connection.pong(message)
    else if (signal === "SUB" || signal === "AUTH") this.#receiveOpening(message, connection, now)
    else if (signal === "DISCONNECT") {
      const { reason, retry_after_ms: after } = decodeObject(message.content)
      this.#lost(String(reason), now, typeof after === "number" ? after : null)
    }
  }

  /** @param {Message} message @param {Conversation} connection */
  #receivePush(message, connection) {
    const push = pushOf(message, connection.granted.has("base64"))
    const { dropped } = this.#deliveries
    const receipt = { connection: connection.number, messageId: message.messageId }
    this.#acknowledge(this.#deliveries.receive(push, receipt))
    if (this.#deliveries.dropped > dropped) {
      this.#actions.push({ do: "fault", error: new errors.InboxFullError(this.#settings.inboxMax) })
    }
  }

  /** @param {Message} message @param {Conversation} connection @param {number} now */
  #receiveOpening(message, connection, now) {
    const answer = decodeObject(message.content)
    if (answer.status !== 200) this.#refused(message.signal, answer, now)
    else if (message.signal === "AUTH") this.#credentials.accepted()
    else {
      this.token = connection.bind(message, now) ?? this.token
      this.#report("connected")
      this.#send(connection.ping(now))
    }
  }

  // --- what goes out

  /**
   * What can go on goes on: the next push to the handler, requests, the change to a new credential.
   * @param {number} now
   */
  #pump(now) {
    const push = this.#deliveries.take()
    if (push) this.#actions.push({ do: "deliver", push })
    if (!this.#bound) return
    if (!this.#renewing) this.#send(this.#requests.messagesToSend())
    else if (!this.#requests.inFlight) {
      this.#dropConnection()
      this.#connect(now, "renewing")
    }
  }

  /**
   * On the connection on which it came, or not at all: its copy on the next one is recognised.
   * @param {Receipt | null} receipt
   */
  #acknowledge(receipt) {
    if (!receipt?.messageId || receipt.connection !== this.#connection?.number) return
    this.#acknowledged += 1
    this.#send([encodeMessage("PUB_ACK", undefined, receipt.messageId)])
  }

  /** @param {string[]} texts */
  #send(texts) {
    for (const text of texts) this.#actions.push({ do: "send", text })
  }

  /** @param {Request[]} requests */
  #settle(requests) {
    for (const request of requests) this.#actions.push({ do: "settle", request })
  }

  /** @param {State} state */
  #report(state, reason = "", retryInMs = 0) {
    this.status = { state, reason, retryInMs, token: this.token }
    this.#actions.push({ do: "report", status: this.status })
  }
}
