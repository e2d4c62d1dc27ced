"""A real ROUTER socket in a thread, which answers as the test says."""

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import ujson
import zmq

from shared.requests import (
    FIND1,
    HELLO1,
    KICK1,
    PUSH2,
    STAT1,
    decode_push,
    encode_done,
    encode_hello_answer,
    encode_info,
    unpack_targets,
)

Frames = list[bytes]
Answer = Callable[[Frames], list[Frames]]


def obliging(frames: Frames) -> list[Frames]:
    """Every push is SENT, everybody is online."""
    command = frames[0]
    if command == HELLO1:
        return [encode_hello_answer({"version": "test", "max_frame_bytes": 1 << 20, "limits": {"max_targets": 1000}})]
    if command == PUSH2:
        request = decode_push(frames)
        detail = ujson.dumps({"sent": 3}).encode() if request.options.to == "all" else b""
        return [encode_done(frames[1], bytes(request.count), detail)]
    if command == FIND1:
        return [encode_info(frames[1], [{"online": True, "worker": token.decode()} for token in frames[2:]])]
    if command == KICK1:
        return [encode_info(frames[1], [token != b"absent" for token in frames[2:]])]
    assert command == STAT1
    return [encode_info(frames[1], {"router": {"version": "test"}})]


def only_hello(frames: Frames) -> list[Frames]:
    """Takes everything and answers nothing."""
    return obliging(frames) if frames[0] == HELLO1 else []


class RouterSocket:
    """Use as a context manager. `received` holds every message; `answer` may be changed at any time."""

    def __init__(self, answer: Answer = obliging, port: int = 0, curve: tuple[bytes, bytes] | None = None) -> None:
        self.answer = answer
        self.received: list[Frames] = []
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        if curve:
            self._socket.curve_server = True
            self._socket.curve_publickey, self._socket.curve_secretkey = curve
        self._socket.bind(f"tcp://127.0.0.1:{port or '*'}")
        self.endpoint = self._socket.last_endpoint.decode()
        self.port = int(self.endpoint.rpartition(":")[2])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._socket.poll(10):
                identity, *frames = self._socket.recv_multipart()
                self.received.append(frames)
                for answer in self.answer(frames):
                    self._socket.send_multipart([identity, *answer])
        self._socket.close(linger=0)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def requests(self) -> list[Frames]:
        """The pushes received."""
        return [frames for frames in self.received if frames[0] == PUSH2]

    def pushed(self) -> Iterator[tuple[bytes, bytes]]:
        """(token, payload) of every push received, repeats included."""
        for frames in self.requests():
            request = decode_push(frames)
            yield from unpack_targets(request.index, request.data)
