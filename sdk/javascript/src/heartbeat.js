// When to say PING, and when silence means that the connection is dead. Pure; times are monotonic milliseconds.

/** Of one connection. Call `dead` and `due` when `nextDeadline` has come. */
export class Heartbeat {
  #longest
  #answerTimeout
  #pingAt = Infinity
  #answerBy = Infinity

  /** @param {number} intervalMs @param {number} answerTimeoutMs */
  constructor(intervalMs, answerTimeoutMs) {
    this.intervalMs = this.#longest = intervalMs
    this.#answerTimeout = answerTimeoutMs
  }

  /** The first PING is due at once: it tells the gateway the interval. @param {number} now */
  start(now) {
    this.#pingAt = now
  }

  /** Something has arrived: it lives. */
  heard() {
    this.#answerBy = Infinity
  }

  /** The gateway said which interval it honours: never wait longer than that. @param {number} intervalMs */
  answered(intervalMs) {
    if (!(intervalMs > 0)) return
    this.#pingAt -= this.intervalMs
    this.intervalMs = Math.min(this.#longest, intervalMs)
    this.#pingAt += this.intervalMs
  }

  /** Whether to say PING now. @param {number} now */
  due(now) {
    if (now < this.#pingAt) return false
    this.#pingAt = now + this.intervalMs
    this.#answerBy = Math.min(this.#answerBy, now + this.#answerTimeout)
    return true
  }

  /**
   * Whether the gateway has been silent for too long. Whoever asks long after the deadline was asleep (a laptop's lid,
   * a hidden tab), and what came meanwhile may lie unread: then it is asked once more.
   * @param {number} now
   */
  dead(now) {
    if (now < this.#answerBy) return false
    if (now < this.#answerBy + this.#answerTimeout) return true
    this.#answerBy = Infinity
    this.#pingAt = now
    return false
  }

  nextDeadline() {
    return Math.min(this.#pingAt, this.#answerBy)
  }
}
