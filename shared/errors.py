"""The project's exceptions. A class holds data; str() says it in lower case, with numbers."""

from shared.reasons import CloseReason


class PushError(Exception):
    """Root of everything that this project raises on purpose."""


class RemoteError(PushError):
    """The peer is at fault. Costs it `reason`; nothing is logged but one INFO line."""

    reason = CloseReason.BAD_PROTOCOL


class ProtocolError(RemoteError):
    """Bytes that no version of the client protocol allows."""


class BodyError(RemoteError):
    """A body that cannot be decoded: not DEFLATE, not decryptable, not UTF-8."""

    reason = CloseReason.BAD_BODY


class TooLargeError(RemoteError):
    """A packet, frame or inflated body over the limit; raised before any of it is buffered."""

    reason = CloseReason.TOO_LARGE

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(what, size, limit)
        self.what, self.size, self.limit = what, size, limit

    def __str__(self) -> str:
        return f"{self.what} of {self.size} bytes exceeds the limit of {self.limit}"


class CredentialError(PushError):
    """A credential that does not verify; str() says why, without any of its content."""


class RequestError(PushError):
    """A sender's request that is refused as a whole: answered with FAIL1 and `code`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return self.message


class BusError(PushError):
    """A bus or hand-over message that does not decode: a peer of another, unknown version."""


class SettingsError(PushError):
    """A setting that is unknown or wrong. Names the key."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(key, message)
        self.key, self.message = key, message

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


class StorageError(PushError):
    """A store that cannot be opened or used: names it, and says why."""


class StorageUnavailable(StorageError):
    """It cannot be reached, is full, or is too slow: the same may be asked again later."""


class NoGroupError(PushError):
    """There is no group of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"no group {self.name[:64]!r}"


class SenderError(PushError):
    """The sender library could not do what was asked: the FAIL1 code and message, or the time that passed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class ClientError(PushError):
    """A client's connection ended, or its SUB was refused: a close reason or the status, and what the gateway said."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason, self.message = reason, message

    def __str__(self) -> str:
        return self.message
