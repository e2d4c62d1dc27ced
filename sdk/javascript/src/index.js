// Client of a push gateway (README.md).
export { Client } from "./client.js"
export * from "./errors.js"
export { StorageIds } from "./kept_ids.js"
export { Answer, Push } from "./pushes.js"

/** @typedef {import("./client.js").ClientOptions} ClientOptions */
/** @typedef {import("./client.js").Handlers} Handlers */
/** @typedef {import("./kept_ids.js").KeptIds} KeptIds */
/** @typedef {import("./options.js").Settings} Settings */
/** @typedef {import("./protocol.js").State} State */
/** @typedef {import("./protocol.js").Statistics} Statistics */
/** @typedef {import("./protocol.js").Status} Status */
