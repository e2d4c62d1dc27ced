// Everything that this package throws or reports, as one tree.

export class PushClientError extends Error {
  /** @param {string} message @param {{ cause?: unknown }} [options] */
  constructor(message, options) {
    super(message, options)
    this.name = new.target.name
  }
}

/** The client is closed, by the application or for good: `reason` says why. */
export class ClosedError extends PushClientError {
  /** @param {string} reason */
  constructor(reason) {
    super(`the client is closed: ${reason}`)
    this.reason = reason
  }
}

/** The connection ended for a reason after which coming back does not help. */
export class DisconnectedError extends PushClientError {
  /** @param {string} reason */
  constructor(reason) {
    super(`the gateway ended the connection: ${reason}`)
    this.reason = reason
  }
}

/** AUTH, SUB or CONTACT was answered with a status other than 200. */
export class RefusedError extends PushClientError {
  /** @param {string} what @param {number} status @param {string} said */
  constructor(what, status, said) {
    super(`${what} was refused with status ${status}: ${said}`)
    this.what = what
    this.status = status
  }
}

/** The gateway said what it may not say. */
export class ProtocolError extends PushClientError {}

/** The application's function gave no credential; its own error is the `cause`. */
export class CredentialError extends PushClientError {}

/** The application's handler failed; its own error is the `cause`. The push is not acknowledged. */
export class HandlerError extends PushClientError {
  /** @param {string} pushId @param {unknown} cause */
  constructor(pushId, cause) {
    super(`the handler failed for push ${pushId || "without id"}`, { cause })
    this.pushId = pushId
  }
}

/** A push was dropped, not acknowledged: so many wait for the handler already. */
export class InboxFullError extends PushClientError {
  /** @param {number} limit */
  constructor(limit) {
    super(`${limit} pushes wait for the handler already; one was dropped`)
  }
}

/** What a request of the application can end with. */
export class RequestError extends PushClientError {}

/** Not sent: so many requests wait already. */
export class QueueFullError extends RequestError {
  /** @param {number} limit */
  constructor(limit) {
    super(`${limit} requests wait already`)
  }
}

/** Not sent: the gateway would end the connection. */
export class BodyTooLargeError extends RequestError {
  /** @param {number} size bytes @param {number} limit bytes */
  constructor(size, limit) {
    super(`body of ${size} bytes exceeds the limit of ${limit}`)
  }
}

/** No answer in time. `sent` false: certainly not done. */
export class RequestTimeoutError extends RequestError {
  /** @param {number} ms @param {boolean} sent */
  constructor(ms, sent) {
    super(`no answer within ${ms} ms; ${sent ? "nobody knows whether it was done" : "not sent"}`)
    this.sent = sent
  }
}

/** The connection ended before the answer: nobody knows whether it was done. */
export class ConnectionLostError extends RequestError {
  constructor() {
    super("the connection ended before the answer; nobody knows whether it was done")
  }
}

/** A PUBLISH was answered with a code other than 0. */
export class PublishError extends RequestError {
  /** @param {number} code @param {string} said */
  constructor(code, said) {
    super(`${said} (code ${code.toString(16).toUpperCase().padStart(2, "0")})`)
    this.code = code
  }
}

/** 01 to EF: the service's own code. */
export class ServiceError extends PublishError {}
/** F0: no service for this topic. */
export class NotAvailableError extends PublishError {}
/** F1: the service did not answer in time; nobody knows whether it was done. */
export class ServiceSilentError extends PublishError {}
/** F2: the connection is not bound. */
export class NotBoundError extends PublishError {}
/** F3: the service was lost; nobody knows whether it was done. */
export class ServiceLostError extends PublishError {}
/** F4: the service's queue is full; not done. */
export class ServiceOverloadedError extends PublishError {}

const BY_CODE = new Map([
  [0xf0, NotAvailableError],
  [0xf1, ServiceSilentError],
  [0xf2, NotBoundError],
  [0xf3, ServiceLostError],
  [0xf4, ServiceOverloadedError],
])

/** The error of a code. @param {number} code @param {string} said @returns {PublishError} */
export function publishError(code, said) {
  const Kind = BY_CODE.get(code) ?? (code < 0xf0 ? ServiceError : PublishError)
  return new Kind(code, said)
}
