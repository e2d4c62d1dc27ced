// How a client behaves: its settings, checked.

/**
 * @typedef {object} Settings
 * @property {string | null} token its token; null: the gateway makes one at the first SUB, kept for the client's life
 * @property {string | null} uid the user whose device this is; counts only where the gateway believes it
 * @property {boolean} binary payloads come as Uint8Array, and need not be text
 * @property {number} intervalMs how often it says PING; more often if the gateway answers a shorter interval
 * @property {number} answerTimeoutMs silence after a PING that ends the connection
 * @property {number} connectTimeoutMs longest time until the connection is bound; also for a credential to be fetched
 * @property {number} requestTimeoutMs longest wait of a request, the time in the queue included
 * @property {number} queueMax requests that wait; over it: QueueFullError
 * @property {number} callsMax requests that await their answers
 * @property {number} inboxMax pushes that wait for the handler; over it they are dropped: InboxFullError
 * @property {number} recentMax push ids that are remembered
 * @property {number} backoffMs pause before attempt n: between 0 and the lesser of backoffMs * 2**n and backoffMaxMs
 * @property {number} backoffMaxMs
 * @property {number} stableMs a connection that was bound this long begins the pauses anew
 * @property {number} renewMarginMs so long before its end a new credential is fetched, but not in its first half
 * @property {number} bodyLimitBytes longest body of a request
 */

/** @type {Settings} */
const DEFAULTS = {
  token: null,
  uid: null,
  binary: false,
  intervalMs: 30_000,
  answerTimeoutMs: 10_000,
  connectTimeoutMs: 10_000,
  requestTimeoutMs: 10_000,
  queueMax: 100,
  callsMax: 32,
  inboxMax: 1000,
  recentMax: 1024,
  backoffMs: 500,
  backoffMaxMs: 30_000,
  stableMs: 5000,
  renewMarginMs: 30_000,
  bodyLimitBytes: 1 << 20,
}
const MAY_BE_ZERO = new Set(["backoffMs", "stableMs", "renewMarginMs"])

/** @param {Partial<Settings>} given @returns {Settings} @throws {RangeError} that names the setting */
export function settingsOf(given) {
  for (const [name, value] of Object.entries(given)) {
    if (!(name in DEFAULTS)) throw new RangeError(`there is no setting ${name}`)
    if (typeof value !== "number") continue
    const least = MAY_BE_ZERO.has(name) ? 0 : 1
    if (!(value >= least)) throw new RangeError(`${name}: ${value} is less than ${least}`)
  }
  return { ...DEFAULTS, ...given }
}
