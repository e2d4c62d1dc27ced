"""A webhook: batches of events as signed posts.

A time-out does not tell whether a batch was taken, and it is posted again. So that a receiver which is merely slow does
not get all of them again and again, each time-out doubles the time that it has, up to eight times; it stays so until a
number of batches were answered within the shorter time. It is the time of the whole post, up to the end of the answer's
head, however it comes; for a body nobody waits longer.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import urllib3

from services.events.posting import Posting, finish
from services.events.receivers import NotTaken
from services.events.signatures import sign
from services.storage.events import Kept
from shared import __version__
from shared.errors import SettingsError

#: How many times the setting a receiver may have in the end.
PATIENCE_MAX = 8
#: After so many answers within half of the time that it has, it has half of it.
_QUICK_ANSWERS = 20
#: Of an answer's body so much is read, in order to use the connection again.
_BODY_BYTES = 1 << 16
#: Longest Retry-After that is followed, in seconds.
_AFTER_MAX_S = 300.0


class Webhook:
    """See Receiver."""

    name = "webhook"

    def __init__(
        self, url: str, secret: bytes, timeout_s: float, most: int, unix_s: Callable[[], float] = time.time
    ) -> None:
        """Raises SettingsError for what is no http(s) URL."""
        try:
            parsed = urllib3.util.parse_url(url)
        except urllib3.exceptions.LocationParseError:
            parsed = urllib3.util.Url()
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise SettingsError("event_webhook_url", "is no http or https URL")
        if parsed.auth:
            raise SettingsError("event_webhook_url", "has a user in it: it would be logged")
        self.most = most
        self.where = f"{parsed.scheme}://{parsed.netloc}"  # without path and query, which may be a secret
        self._secret, self._timeout_s, self._unix_s = secret, timeout_s, unix_s
        self._patience, self._quick = 1, 0
        self._posting = Posting(parsed)

    def deliver(self, events: Sequence[Kept], attempt: int) -> None:
        """One post. Only 2xx says that they are taken; redirects are not followed. Raises NotTaken."""
        body = f'{{"events":[{",".join([event.json() for event in events])}]}}'.encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"push-gateway/{__version__}",
            "Push-Attempt": str(attempt),
            **sign(self._secret, int(self._unix_s()), body),
        }
        began, seconds = time.monotonic(), self._timeout_s * self._patience
        try:
            answer = self._posting.post(body, headers, seconds)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if self._is_late(error):
                self._patience, self._quick = min(2 * self._patience, PATIENCE_MAX), 0
                raise NotTaken(f"no answer within {seconds:g} s", late=True) from None
            raise NotTaken(_in_words(error)) from None
        self._judge(answer, time.monotonic() - began)

    def _is_late(self, error: Exception) -> bool:
        """Whoever cannot be reached in time has nothing."""
        if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
            return False
        return isinstance(error, urllib3.exceptions.ReadTimeoutError) or self._posting.deadline.is_over

    def _judge(self, answer: Any, took_s: float) -> None:
        finish(answer, _BODY_BYTES)
        if not 200 <= answer.status < 300:
            raise NotTaken(f"status {answer.status}", _after_s(answer.headers.get("Retry-After", "")))
        self._quick = self._quick + 1 if took_s < self._timeout_s * self._patience / 2 else 0
        if self._quick >= _QUICK_ANSWERS:
            self._patience, self._quick = max(1, self._patience // 2), 0

    def close(self) -> None:
        """Its connection ends."""
        self._posting.close()


def _after_s(text: str) -> float:
    """Of Retry-After in seconds; a date counts as nothing."""
    return min(float(text), _AFTER_MAX_S) if text.isascii() and text.isdecimal() else 0.0


def _in_words(error: Exception) -> str:
    """Without the URL, whose query may be a secret."""
    reason = getattr(error, "reason", None) or error
    text = str(reason).rpartition(": ")[2] if isinstance(reason, urllib3.exceptions.HTTPError) else str(reason)
    return f"{type(error).__name__}: {text[:200]}"
