// The credential for AUTH: which one is in use, and when a new one is needed. Pure.
import { decodeObject } from "./messages.js"

/** `exp` of a JWT in Unix seconds, not verified; null: it has none, or is none. @param {string} credential */
export function expiryOf(credential) {
  const parts = credential.split(".")
  if (parts.length !== 3) return null
  try {
    const { exp } = decodeObject(atob(parts[1].replace(/-/g, "+").replace(/_/g, "/")))
    return typeof exp === "number" ? exp : null
  } catch {
    return null
  }
}

/** `given` is the application's; `canFetch`: it has a function for new ones. Both missing: no AUTH is said. */
export class Credentials {
  #used = false

  /** @param {string | null} given @param {boolean} canFetch @param {number} marginMs */
  constructor(given, canFetch, marginMs) {
    this.current = given
    this.canFetch = canFetch
    this.marginMs = marginMs
    this.renewAt = Infinity
  }

  /** Whether one must be fetched before connecting. */
  get missing() {
    return this.canFetch && this.current === null
  }

  /**
   * A new one, from now on; false: it is the old one.
   * @param {string} credential @param {number} now @param {number} unixMs
   */
  fetched(credential, now, unixMs) {
    const isNew = credential !== this.current
    if (isNew) this.#used = false
    this.current = credential
    const expiry = expiryOf(credential)
    const left = Math.max(1000, (expiry ?? Infinity) * 1000 - unixMs)
    this.renewAt = now + Math.max(left - this.marginMs, left / 2)
    return isNew
  }

  /** The gateway has taken it. */
  accepted() {
    this.#used = true
  }

  /** Whether to try again with a new one: yes, unless the gateway has never taken this one. */
  refused() {
    const again = this.canFetch && this.#used
    this.forget()
    return again
  }

  /** It is of no use any more. */
  forget() {
    if (!this.canFetch) return
    this.current = null
    this.renewAt = Infinity
  }
}
