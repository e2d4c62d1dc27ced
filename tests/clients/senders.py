"""A sender in plain pyzmq, written from docs/sender-protocol.md alone."""

import contextlib
import itertools
import json
import struct
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import zmq

from tests.clients.wires import DEADLINE_S

SENT, ACKED, STORED, OFFLINE, EXPIRED, OVERLOADED, TOO_LARGE, UNAVAILABLE, REFUSED, BUFFERED, UNKNOWN = range(11)

Pair = tuple[bytes | str, bytes]


class RawSender:
    """One DEALER. Waits end at a deadline with TimeoutError."""

    def __init__(self, endpoint: str, name: str = "", deadline: float = DEADLINE_S, **options: int | bytes) -> None:
        """`options` are ZeroMQ's, by their lower-case names (`sndhwm=1`, `curve_serverkey=...`)."""
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        for option, value in options.items():
            setattr(self.socket, option, value)
        self.socket.connect(endpoint)
        self.deadline = deadline
        self._numbers = itertools.count(1)
        if name:
            self.hello(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close(linger=0)
        self.context.term()

    def send(self, *frames: bytes) -> None:
        """One message, as it is."""
        end = time.monotonic() + self.deadline
        while self.socket.poll(max(0, int((end - time.monotonic()) * 1000)), zmq.POLLOUT):
            with contextlib.suppress(zmq.Again):  # the link may be gone since
                self.socket.send_multipart(frames, zmq.NOBLOCK)
                return
        raise TimeoutError("the router takes no more")

    def receive(self, deadline: float | None = None) -> list[bytes]:
        """The next message of the router."""
        if not self.socket.poll(int((self.deadline if deadline is None else deadline) * 1000)):
            raise TimeoutError("no answer from the router")
        return self.socket.recv_multipart()

    def silent_for(self, seconds: float) -> bool:
        """Whether nothing comes for `seconds`."""
        return not self.socket.poll(int(seconds * 1000))

    def ask(self, *frames: bytes) -> list[bytes]:
        """One message and the next answer."""
        self.send(*frames)
        return self.receive()

    def hello(self, name: str) -> dict[str, Any]:
        """HELLO1; what the router says of itself."""
        answer = self.ask(b"HELLO1", name.encode(), b"")
        assert answer[0] == b"HELLO1", answer
        return json.loads(answer[-1])

    def push(self, token: str, payload: bytes, **options: Any) -> int:
        """One push; its outcome."""
        return self.push_all([(token, payload)], **options)[0]

    def push_all(self, pairs: Iterable[Pair], **options: Any) -> bytes:
        """PUSH1 with several targets; one outcome byte for each."""
        return self.done(self.send_push(pairs, **options))[0]

    def send_push(self, pairs: Iterable[Pair], request_id: bytes = b"", **options: Any) -> bytes:
        """PUSH1 without waiting; the request id."""
        request_id = request_id or b"%d" % next(self._numbers)
        self.send(
            b"PUSH1", request_id, encode_options(options), *itertools.chain(*[(bytes_of(t), p) for t, p in pairs])
        )
        return request_id

    def send_packed(self, pairs: Sequence[Pair], request_id: bytes = b"", **options: Any) -> bytes:
        """PUSH2 without waiting; the request id."""
        request_id = request_id or b"%d" % next(self._numbers)
        self.send(b"PUSH2", request_id, encode_options(options), *pack(pairs))
        return request_id

    def done(self, request_id: bytes, deadline: float | None = None) -> tuple[bytes, dict[str, Any]]:
        """(outcomes, detail) of the DONE1 that must come next, for this request."""
        answer = self.receive(deadline)
        assert answer[:2] == [b"DONE1", request_id], answer
        return answer[2], json.loads(answer[3]) if answer[3] else {}

    def fail(self, *frames: bytes) -> dict[str, Any]:
        """One message, which must be answered by FAIL1 with its request id; the FAIL1's JSON."""
        answer = self.ask(*frames)
        assert answer[0] == b"FAIL1", answer
        assert answer[1] == (frames[1] if len(frames) > 1 else b""), answer
        return json.loads(answer[2])

    def info(self, command: bytes, *tokens: str) -> Any:
        """FIND1, KICK1 or STAT1; the JSON of its INFO1."""
        request_id = b"i%d" % next(self._numbers)
        answer = self.ask(command, request_id, *[token.encode() for token in tokens])
        assert answer[:2] == [b"INFO1", request_id], answer
        return json.loads(answer[2])

    def find(self, token: str) -> dict[str, Any]:
        """FIND1 of one token."""
        return self.info(b"FIND1", token)[0]

    def stat(self) -> dict[str, Any]:
        """STAT1."""
        return self.info(b"STAT1")


def bytes_of(target: bytes | str) -> bytes:
    return target.encode() if isinstance(target, str) else target


def encode_options(options: dict[str, Any]) -> bytes:
    return json.dumps(options).encode() if options else b""


def pack(pairs: Sequence[Pair]) -> tuple[bytes, bytes]:
    """(index, data) of a PUSH2."""
    targets = [(bytes_of(target), payload) for target, payload in pairs]
    index = b"".join([struct.pack(">HI", len(target), len(payload)) for target, payload in targets])
    return index, b"".join([part for pair in targets for part in pair])
