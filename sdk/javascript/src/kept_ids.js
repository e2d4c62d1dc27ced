// Push ids that outlive the page or process: a hook of the application, and one for a Web Storage.

/**
 * What the application may give as `ids`. An error that `add` throws counts as the handler's: no acknowledgement.
 * `load` gives all of them, oldest first, and is called once; `add` gets one that was handled, and is acknowledged after
 * this; `forgotten` is no longer needed.
 * @typedef {{ load(): Iterable<string> | Promise<Iterable<string>>,
 *   add(id: string, forgotten: string | null): void | Promise<void> }} KeptIds
 */

/** Keeps ids in localStorage or sessionStorage, an entry for each. For one client. @implements {KeptIds} */
export class StorageIds {
  #number = 0

  /** @param {Storage} storage @param {string} prefix of the entries' names: other for each token */
  constructor(storage, prefix) {
    this.storage = storage
    this.prefix = prefix
  }

  /** @returns {string[]} */
  load() {
    const found = []
    for (let index = 0; index < this.storage.length; index += 1) {
      const name = this.storage.key(index) ?? ""
      if (!name.startsWith(this.prefix)) continue
      found.push({ id: name.slice(this.prefix.length), number: Number(this.storage.getItem(name)) })
    }
    found.sort((one, other) => one.number - other.number)
    this.#number = found.at(-1)?.number ?? 0
    return found.map(({ id }) => id)
  }

  /** @param {string} id @param {string | null} forgotten */
  add(id, forgotten) {
    if (forgotten !== null) this.storage.removeItem(this.prefix + forgotten)
    this.#number += 1
    this.storage.setItem(this.prefix + id, String(this.#number))
  }
}
