// The client: carries out what the protocol wants, with a WebSocket and timers.
import { settingsOf } from "./options.js"
import { Protocol } from "./protocol.js"

/** @typedef {import("./protocol.js").Action} Action */
/** @typedef {import("./protocol.js").Status} Status */
/** @typedef {import("./protocol.js").Statistics} Statistics */
/** @typedef {import("./pushes.js").Push} Push */
/** @typedef {import("./pushes.js").Answer} Answer */
/** @typedef {import("./requests.js").Request} Request */
/**
 * `push` may give a promise: the push is acknowledged when it is fulfilled, not if it is rejected, and the next push waits.
 * @typedef {{ push: (push: Push) => unknown, state: (status: Status) => void,
 *   error: (error: import("./errors.js").PushClientError) => void }} Handlers
 */
/**
 * What the client needs of a WebSocket class.
 * @typedef {{ onopen: any, onmessage: any, onclose: any, onerror: any, send(text: string): void, close(): void }} Socket
 */
/**
 * `credential`: a JWT, or a function that gives a new one. `ids`: keeps push ids beyond the page or process.
 * `WebSocket`: the class to use where there is no global one (Node before 22).
 * @typedef {Partial<import("./options.js").Settings> & { credential?: string | (() => string | Promise<string>),
 *   ids?: import("./kept_ids.js").KeptIds, WebSocket?: new (url: string) => Socket }} ClientOptions
 */

const LONGEST_TIMER_MS = 2 ** 31 - 1

/** One token's client. */
export class Client {
  /** @type {{ push: Handlers["push"][], state: Handlers["state"][], error: Handlers["error"][] }} */
  #handlers = { push: [], state: [], error: [] }
  /** @type {Socket | null} */
  #socket = null
  /** @type {Map<Request, { resolve: (answer: Answer) => void, reject: (error: Error) => void }>} */
  #calls = new Map()
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer
  /** @type {Promise<void>} the handler's work, or none */
  #handling = Promise.resolve()
  #busy = false
  /** @type {Protocol | null} */
  #protocol = null
  #url
  #settings
  #credential
  #ids
  #WebSocket

  /** @param {string} url `ws://host:port/` or `wss://...` @param {ClientOptions} [options] */
  constructor(url, { credential, ids, WebSocket = globalThis.WebSocket, ...settings } = {}) {
    if (!WebSocket) throw new TypeError("there is no global WebSocket: give a class in the option WebSocket")
    this.#url = url
    this.#settings = settingsOf(settings)
    this.#credential = credential
    this.#ids = ids
    this.#WebSocket = WebSocket
    if (!ids) this.#protocol = this.#makeProtocol([])
  }

  // --- life

  /**
   * Adds a handler for `push`, `state` or `error`.
   * @template {keyof Handlers} Name
   * @param {Name} name @param {Handlers[Name]} handler @returns {this}
   */
  on(name, handler) {
    /** @type {Handlers[Name][]} */ (this.#handlers[name]).push(handler)
    return this
  }

  /** Begins to connect. The promise is fulfilled when the ids are loaded; without `ids` at once. */
  async connect() {
    if (!this.#protocol) {
      const recent = await this.#ids?.load()
      this.#protocol ??= this.#makeProtocol(recent ?? [])
    }
    this.#tell((protocol, now) => protocol.start(now))
  }

  /**
   * Ends it. Waits up to `timeoutMs` for the push being handled, so that it is acknowledged: do not await this in a
   * handler of `push`. `clearSession`: whoever has logged in is logged out everywhere.
   * @param {{ clearSession?: boolean, timeoutMs?: number }} [how]
   */
  async close({ clearSession = false, timeoutMs = 1000 } = {}) {
    this.#protocol ??= this.#makeProtocol([])
    this.#tell((protocol) => protocol.stopDeliveries())
    let late
    await Promise.race([this.#handling, new Promise((resolve) => (late = setTimeout(resolve, timeoutMs)))])
    clearTimeout(late)
    this.#tell((protocol) => protocol.close(clearSession))
  }

  // --- how it is

  /** @returns {Status} */
  get status() {
    return this.#protocol?.status ?? { state: "new", reason: "", retryInMs: 0, token: this.#settings.token }
  }

  get token() {
    return this.status.token
  }

  /** @returns {Statistics} */
  get statistics() {
    return (this.#protocol ?? this.#makeProtocol([])).statistics
  }

  // --- requests

  /**
   * Asks the service of a topic; while away, in a bounded queue. `body`: anything for JSON, or nothing. `repeat`: it may
   * be done twice, so it is sent again when the connection was lost. Rejects with RequestError (PublishError: the
   * service's or gateway's code) and ClosedError.
   * @param {string | number} topic @param {unknown} [body] @param {{ timeoutMs?: number, repeat?: boolean }} [how]
   * @returns {Promise<Answer>}
   */
  publish(topic, body, how) {
    return this.#request("PUBLISH", topic, body, how)
  }

  /**
   * A message to another client, or to the others of a group. Rejects with RefusedError, RequestError, ClosedError.
   * @param {{ to: string, message: unknown } | { group: string, message: unknown }} what
   * @param {{ timeoutMs?: number }} [how]
   * @returns {Promise<void>}
   */
  async contact(what, how) {
    await this.#request("CONTACT", "NONE", { type: "group" in what ? 1 : 0, ...what }, how)
  }

  /**
   * @param {"PUBLISH" | "CONTACT"} signal @param {string | number} topic @param {unknown} content
   * @param {{ timeoutMs?: number, repeat?: boolean }} [how]
   * @returns {Promise<Answer>}
   */
  #request(signal, topic, content, how) {
    return new Promise((resolve, reject) => {
      if (!this.#protocol) throw new TypeError("call connect first, and await it")
      const request = this.#protocol.request(signal, topic, content, performance.now(), how)
      this.#calls.set(request, { resolve, reject })
      this.#carryOut()
    })
  }

  // --- carrying out

  /** @param {Iterable<string>} recent */
  #makeProtocol(recent) {
    const canFetch = typeof this.#credential === "function"
    const credential = typeof this.#credential === "string" ? this.#credential : null
    return new Protocol(this.#settings, { chance: Math.random, credential, canFetch, recent })
  }

  /** Says what has happened, and does what follows from it. @param {(protocol: Protocol, now: number) => void} say */
  #tell(say) {
    if (!this.#protocol) return
    say(this.#protocol, performance.now())
    this.#carryOut()
  }

  #carryOut() {
    if (this.#busy || !this.#protocol) return // called by the application's function: whoever called that goes on
    this.#busy = true
    for (let todo = this.#protocol.takeActions(); todo.length; todo = this.#protocol.takeActions()) {
      for (const action of todo) this.#do(action)
    }
    this.#busy = false
    clearTimeout(this.#timer)
    const deadline = this.#protocol.nextDeadline()
    if (deadline === Infinity) return
    const delay = Math.min(LONGEST_TIMER_MS, Math.max(0, Math.ceil(deadline - performance.now())))
    this.#timer = setTimeout(() => this.#tell((protocol, now) => protocol.tick(now)), delay)
  }

  /** @param {Action} action */
  #do(action) {
    if (action.do === "send") this.#socket?.send(action.text)
    else if (action.do === "deliver") this.#handling = this.#handle(action.push)
    else if (action.do === "settle") this.#settle(action.request)
    else if (action.do === "connect") this.#open()
    else if (action.do === "disconnect") this.#drop()
    else if (action.do === "fetch") this.#fetch()
    else if (action.do === "report") this.#emit(this.#handlers.state, action.status)
    else if (this.#handlers.error.length) this.#emit(this.#handlers.error, action.error)
    else console.warn(String(action.error))
  }

  /** @template Value @param {((value: Value) => void)[]} handlers @param {Value} value */
  #emit(handlers, value) {
    for (const handler of handlers) {
      try {
        handler(value)
      } catch (error) {
        console.error(error)
      }
    }
  }

  /** @param {Push} push */
  async #handle(push) {
    /** @type {{ cause: unknown } | null} */
    let failure = null
    try {
      await Promise.all(this.#handlers.push.map(async (handler) => handler(push)))
      if (push.id) await this.#ids?.add(push.id, this.#protocol?.forgottenBy(push.id) ?? null)
    } catch (cause) {
      failure = { cause }
    }
    this.#tell((protocol, now) => protocol.handled(push.id, failure, now))
  }

  /** @param {Request} request */
  #settle(request) {
    const call = this.#calls.get(request)
    this.#calls.delete(request)
    if (request.answer) call?.resolve(request.answer)
    else if (request.error) call?.reject(request.error)
  }

  // --- the socket; one that was dropped is heard no more

  #open() {
    try {
      const socket = (this.#socket = new this.#WebSocket(this.#url))
      socket.onopen = () => this.#tell((protocol) => protocol.opened())
      socket.onmessage = (/** @type {MessageEvent} */ { data }) =>
        this.#tell((protocol, now) => protocol.receive(data, now))
      socket.onclose = (/** @type {CloseEvent} */ { reason }) =>
        this.#tell((protocol, now) => protocol.lost(reason || "ended", now))
      socket.onerror = () => {} // a close follows
    } catch (error) {
      this.#socket = null
      this.#tell((protocol, now) => protocol.lost(`unreachable: ${error}`, now))
    }
  }

  #drop() {
    const socket = this.#socket
    this.#socket = null
    if (!socket) return
    socket.onopen = socket.onmessage = socket.onclose = null
    socket.close()
  }

  async #fetch() {
    const credential = /** @type {() => string | Promise<string>} */ (this.#credential)
    try {
      const given = await credential()
      this.#tell((protocol, now) => protocol.credentialFetched(given, now, Date.now()))
    } catch (cause) {
      this.#tell((protocol, now) => protocol.credentialFailed(cause ?? new Error("no reason"), now))
    }
  }
}
