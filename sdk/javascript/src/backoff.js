// Pauses between attempts to connect: exponential, with full jitter. Pure.

export class Backoff {
  #attempt = 0

  /** @param {number} firstMs @param {number} longestMs @param {() => number} chance from 0 up to, but not including, 1 */
  constructor(firstMs, longestMs, chance) {
    this.firstMs = firstMs
    this.longestMs = longestMs
    this.chance = chance
  }

  /** Until the next attempt. What the gateway said is kept to: it gives each client another time. */
  pause(/** @type {number | null} */ retryAfterMs = null) {
    const ceiling = Math.min(this.longestMs, this.firstMs * 2 ** Math.min(this.#attempt, 30))
    this.#attempt += 1
    return retryAfterMs ?? ceiling * this.chance()
  }

  reset() {
    this.#attempt = 0
  }
}
