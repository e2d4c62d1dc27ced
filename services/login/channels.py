"""How codes reach their users."""

import logging
import threading
from http.client import HTTPException
from urllib.error import URLError
from urllib.request import Request, urlopen

import ujson

from shared.errors import PushError

logger = logging.getLogger(__name__)

#: Seconds of silence.
_TIMEOUT_S = 4.0
#: Codes that are on their way at once. Fewer than the threads of the service, so that CONNECT finds one.
_MOST = 4


class ChannelError(PushError):
    """A code could not be sent."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"the code could not be sent: {self.why}"


class LogChannel:
    """Into the log of the service: for trials. Whoever reads the log can log in as anybody."""

    def send(self, mobile: str, code: str) -> None:
        """Never fails."""
        logger.warning("login_channel is log: the code of %s is %s", mobile, code)


class WebhookChannel:
    """A POST of {"mobile", "code"} to a URL of the deployment; 2xx says that it is sent. From any thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free = threading.BoundedSemaphore(_MOST)

    def send(self, mobile: str, code: str) -> None:
        """Waits for the answer. Raises ChannelError."""
        if not self._free.acquire(blocking=False):
            raise ChannelError(f"{_MOST} others wait for login_channel")
        try:
            self._post(mobile, code)
        finally:
            self._free.release()

    def _post(self, mobile: str, code: str) -> None:
        body = ujson.dumps({"mobile": mobile, "code": code}).encode()
        request = Request(self._url, body, {"Content-Type": "application/json"}, method="POST")
        try:
            with urlopen(request, timeout=_TIMEOUT_S):
                return
        except (URLError, HTTPException, OSError, ValueError) as error:
            raise ChannelError(str(getattr(error, "reason", error))) from None


Channel = LogChannel | WebhookChannel
