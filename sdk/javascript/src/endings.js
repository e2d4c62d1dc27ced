// What to do when a connection has ended (docs/client-protocol.md, section How a connection ends). Pure.

/** After these, coming back does not help. */
const FINAL = new Set(["rejected", "replaced", "kicked", "bad_protocol", "bad_body"])
export const CREDENTIAL_EXPIRED = "credential_expired"

/** Whether to stay away. @param {string} reason @param {boolean} canRenew whether a new credential can be had */
export function isFinal(reason, canRenew) {
  return FINAL.has(reason) || (reason === CREDENTIAL_EXPIRED && !canRenew)
}
