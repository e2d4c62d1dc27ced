"""Everything that this package raises or reports, as one tree."""

from __future__ import annotations


class PushClientError(Exception):
    """Base of all."""


class ClosedError(PushClientError):
    """The client is closed, by the application or for good: `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the client is closed: {reason}")
        self.reason = reason


class DisconnectedError(PushClientError):
    """The connection ended for a reason after which coming back does not help."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the gateway ended the connection: {reason}")
        self.reason = reason


class RefusedError(PushClientError):
    """AUTH, SUB or CONTACT was answered with a status other than 200."""

    def __init__(self, what: str, status: int, message: str) -> None:
        super().__init__(f"{what} was refused with status {status}: {message}")
        self.what, self.status, self.message = what, status, message


class ProtocolError(PushClientError):
    """The gateway said what it may not say."""


class CredentialError(PushClientError):
    """The application's function gave no credential; its own error is the `__cause__`."""


class HandlerError(PushClientError):
    """The application's function for pushes raised; its own error is the `__cause__`. The push is not acknowledged."""

    def __init__(self, push_id: str) -> None:
        super().__init__(f"the handler failed for push {push_id or 'without id'}")
        self.push_id = push_id


class RequestError(PushClientError):
    """Base of what a request of the application can end with."""


class QueueFullError(RequestError):
    """Not sent: so many requests wait already."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} requests wait already")


class BodyTooLargeError(RequestError):
    """Not sent: the gateway would end the connection."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"body of {size} bytes exceeds the limit of {limit}")


class RequestTimeoutError(RequestError):
    """No answer in time. `sent` False: certainly not done."""

    def __init__(self, seconds: float, sent: bool) -> None:
        super().__init__(
            f"no answer within {seconds:g} s; {'nobody knows whether it was done' if sent else 'not sent'}"
        )
        self.sent = sent


class ConnectionLostError(RequestError):
    """The connection ended before the answer: nobody knows whether it was done."""

    def __init__(self) -> None:
        super().__init__("the connection ended before the answer; nobody knows whether it was done")


class PublishError(RequestError):
    """A PUBLISH was answered with a code other than 0. `body` is what the service said with it (bytes)."""

    def __init__(self, code: int, body: bytes) -> None:
        super().__init__(f"{self._said()} (code {code:02X})")
        self.code, self.body = code, body

    def _said(self) -> str:
        return "the publish failed"


class ServiceError(PublishError):
    """01 to EF: the service's own code."""

    def _said(self) -> str:
        return "the service refused"


class NotAvailableError(PublishError):
    """F0: no service for this topic."""

    def _said(self) -> str:
        return "no service for this topic"


class ServiceSilentError(PublishError):
    """F1: the service did not answer in time; nobody knows whether it was done."""

    def _said(self) -> str:
        return "the service was silent"


class NotBoundError(PublishError):
    """F2: the connection is not bound."""

    def _said(self) -> str:
        return "not bound"


class ServiceLostError(PublishError):
    """F3: the service was lost; nobody knows whether it was done."""

    def _said(self) -> str:
        return "the service was lost"


class ServiceOverloadedError(PublishError):
    """F4: the service's queue is full; not done."""

    def _said(self) -> str:
        return "the service's queue is full"


_BY_CODE: dict[int, type[PublishError]] = {
    0xF0: NotAvailableError,
    0xF1: ServiceSilentError,
    0xF2: NotBoundError,
    0xF3: ServiceLostError,
    0xF4: ServiceOverloadedError,
}


def publish_error(code: int, body: bytes) -> PublishError:
    """The error of a code."""
    kind = _BY_CODE.get(code) or (ServiceError if code < 0xF0 else PublishError)
    return kind(code, body)
