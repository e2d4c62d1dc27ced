"""Calls of other services by greenlets: a thread waits for each answer, the hub never does."""

from collections.abc import Sequence

from gevent.threadpool import ThreadPool

from services.library import PublishError, Service
from shared.errors import SenderError

#: Calls at a time, and so threads: their own, so that a service that is silent delays nothing else.
CALLS_MAX = 64


class Asking:
    """Service.ask for greenlets of one hub."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._threads = ThreadPool(CALLS_MAX)
        self._open = 0

    def __call__(self, topic: Sequence[int], body: bytes, key: str) -> tuple[int, bytes]:
        """(code, body) of the answer; at once QUEUE_FULL, if too many wait for theirs."""
        if self._open >= CALLS_MAX:
            return PublishError.QUEUE_FULL, b""
        self._open += 1
        try:
            code, answer = self._threads.apply(self._service.ask, (topic, body), {"key": key})
        except SenderError:  # this process is about to end
            return PublishError.NOBODY_KNOWS, b""
        finally:
            self._open -= 1
        return code, answer
