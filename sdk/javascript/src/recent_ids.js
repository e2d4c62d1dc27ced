// Ids of pushes that have been handled: the last few. Pure.

export class RecentIds {
  /** @type {Set<string>} */
  #ids = new Set()

  /** @param {number} limit @param {Iterable<string>} [ids] from where they were kept, oldest first */
  constructor(limit, ids = []) {
    this.limit = limit
    for (const id of ids) this.add(id)
  }

  get size() {
    return this.#ids.size
  }

  /** @param {string} id */
  has(id) {
    return this.#ids.has(id)
  }

  /** Remembers an id; forgets the oldest if there are too many. One that was seen again is the newest. @param {string} id */
  add(id) {
    this.#ids.delete(id)
    this.#ids.add(id)
    if (this.#ids.size > this.limit) this.#ids.delete(this.#oldest())
  }

  /** Which id `add` will forget. @param {string} id @returns {string | null} */
  forgottenBy(id) {
    return this.#ids.has(id) || this.#ids.size < this.limit ? null : this.#oldest()
  }

  /** @returns {string} */
  #oldest() {
    return /** @type {string} */ (this.#ids.values().next().value)
  }
}
