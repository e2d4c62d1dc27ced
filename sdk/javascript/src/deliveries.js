// Pushes on their way to the application, one at a time, and what is acknowledged when. Pure.
import { RecentIds } from "./recent_ids.js"

/** @typedef {import("./pushes.js").Push} Push */
/**
 * Where a push is to be acknowledged: on which connection, with which message id (0: not at all).
 * @typedef {{ connection: number, messageId: number }} Receipt
 */
/** A push that waits or is being handled; a copy that comes meanwhile moves its receipt. @typedef {{ push: Push, receipt: Receipt }} Delivery */

export class Deliveries {
  /** @type {Delivery[]} */
  #waiting = []
  /** @type {Map<string, Delivery>} */
  #byId = new Map()
  /** @type {Delivery | null} */
  #running = null
  #stopped = false
  received = 0
  duplicates = 0
  failed = 0
  dropped = 0

  /** @param {number} limit @param {RecentIds} recent */
  constructor(limit, recent) {
    this.limit = limit
    this.recent = recent
  }

  /** Whether `receive` would drop a new push. */
  get full() {
    return this.#waiting.length >= this.limit
  }

  /**
   * Takes a push, or drops it where too many wait; a receipt: it was handled long ago, acknowledge it.
   * @param {Push} push @param {Receipt} receipt @returns {Receipt | null}
   */
  receive(push, receipt) {
    this.received += 1
    if (push.id && this.recent.has(push.id)) {
      this.duplicates += 1
      this.recent.add(push.id)
      return receipt
    }
    const earlier = push.id ? this.#byId.get(push.id) : undefined
    if (earlier) {
      this.duplicates += 1
      earlier.receipt = receipt
    } else if (this.full) {
      this.dropped += 1
    } else {
      const delivery = { push, receipt }
      this.#waiting.push(delivery)
      if (push.id) this.#byId.set(push.id, delivery)
    }
    return null
  }

  /** The next push to be handled; null: there is none, or one is being handled. */
  take() {
    if (this.#running || this.#stopped) return null
    this.#running = this.#waiting.shift() ?? null
    return this.#running?.push ?? null
  }

  /**
   * The one being handled is done: where to acknowledge it. A failed one is forgotten: its next copy counts.
   * @param {boolean} succeeded @returns {Receipt | null}
   */
  handled(succeeded) {
    const delivery = this.#running
    this.#running = null
    if (!delivery) return null
    this.#byId.delete(delivery.push.id)
    if (!succeeded) {
      this.failed += 1
      return null
    }
    if (delivery.push.id) this.recent.add(delivery.push.id)
    return delivery.receipt
  }

  /** The client closes: what waits is not handled, and not acknowledged. */
  stop() {
    this.#stopped = true
    this.#waiting = []
  }
}
