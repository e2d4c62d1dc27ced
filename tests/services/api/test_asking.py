"""services/api/asking.py and bodies.py, in a hub."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import gevent
import pytest

from services.api import bodies
from services.api.asking import CALLS_MAX, Asking
from services.library import PublishError, Returned
from shared.errors import SenderError


class SilentService:
    """Answers nothing until it may."""

    def __init__(self) -> None:
        self.may, self.ended = threading.Event(), False

    def ask(self, topic: Sequence[int], body: bytes, *, key: str) -> Returned:
        if self.ended:
            raise SenderError("closed", "this service has ended")
        assert self.may.wait(30)
        return Returned(0, key.encode())


def test_a_silent_service_delays_nobody_else() -> None:
    service = SilentService()
    asking = Asking(service)  # type: ignore[arg-type]
    waiting = [gevent.spawn(asking, [0, 5], b"", str(number)) for number in range(CALLS_MAX)]
    gevent.sleep(0)
    assert asking([0, 5], b"", "one more") == (PublishError.QUEUE_FULL, b"")
    assert gevent.get_hub().threadpool.apply(lambda: "ready") == "ready"
    service.may.set()
    gevent.joinall(waiting)
    assert [one.value for one in waiting] == [(0, str(number).encode()) for number in range(CALLS_MAX)]
    assert asking([0, 5], b"", "again") == (0, b"again")
    service.ended = True
    assert asking([0, 5], b"", "end") == (PublishError.NOBODY_KNOWS, b"")


class Source:
    """`wsgi.input` of a client that sends slowly, or has gone."""

    def __init__(self, seconds: float, error: Any = None) -> None:
        self._seconds, self._error = seconds, error
        self.content_length, self.chunked_input = 1000, True

    def read(self, length: int) -> bytes:
        gevent.sleep(self._seconds)
        if self._error:
            raise self._error
        return b"x" * length


def test_bodies_that_come_and_that_do_not() -> None:
    assert bodies.read(Source(0), 3, 30.0) == b"xxx"
    with pytest.raises(bodies.BrokenBodyError):
        bodies.read(Source(0, OSError("unexpected end of file")), 3, 30.0)
    assert bodies.read(Source(0, TimeoutError()), 3, 30.0) is None  # the socket has been silent for long
    began = time.monotonic()
    assert bodies.read(Source(600), 3, 0.05) is None
    assert time.monotonic() - began < 300


def test_nothing_is_read_to_throw_it_away() -> None:
    source = Source(0)
    environ: dict[str, Any] = {"wsgi.input": source}
    assert not bodies.was_left(environ)
    bodies.leave_unread(environ)
    assert (source.content_length, source.chunked_input) == (0, False)
    assert bodies.was_left(environ)
