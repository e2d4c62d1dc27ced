"""How codes are sent, with a real web server."""

import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from services.login.channels import ChannelError, LogChannel, WebhookChannel
from tests.fleet.ports import free_ports

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class Web:
    """Says the same to every request, or nothing while `answer` is empty, and keeps what it got."""

    def __init__(self, answer: bytes) -> None:
        self.answer, self.got, self.there = answer, b"", threading.Semaphore(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/send?key=secret"
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._kept.append(peer)
            self.got = b""
            while b"}" not in self.got and (data := peer.recv(65536)):
                self.got += data
            self.there.release()
            if self.answer:
                peer.sendall(self.answer)
                peer.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._kept:
            peer.close()


@contextmanager
def web(answer: bytes) -> Iterator[Web]:
    server = Web(answer)
    try:
        yield server
    finally:
        server.close()


def test_a_code_is_posted() -> None:
    with web(OK) as server:
        WebhookChannel(server.url).send("13800000000", "123456")
    head, _, body = server.got.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /send?key=secret HTTP/1.1\r\n")
    assert b"Content-Type: application/json" in head
    assert body == b'{"mobile":"13800000000","code":"123456"}'


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 500 No\r\n\r\n", b"HTTP/1.1 404 No\r\n\r\n", b"nonsense\r\n\r\n", b"HTTP/1.1 x\r\n\r\n"]
)
def test_what_is_not_sent(answer: bytes) -> None:
    with web(answer) as server, pytest.raises(ChannelError) as caught:
        WebhookChannel(server.url).send("13800000000", "123456")
    assert "123456" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_nobody_there() -> None:
    with pytest.raises(ChannelError, match="refused"):
        WebhookChannel(f"http://127.0.0.1:{free_ports(1)[0]}/").send("13800000000", "123456")


def test_a_silent_one_holds_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.login.channels._TIMEOUT_S", 3.0)
    with web(b"") as server, ThreadPoolExecutor(4) as threads:
        channel = WebhookChannel(server.url)
        waiting = [threads.submit(channel.send, "13800000000", "123456") for _ in range(4)]
        for _ in waiting:
            assert server.there.acquire(timeout=10)
        with pytest.raises(ChannelError, match="4 others"):
            channel.send("13800000000", "123456")
        for one in waiting:
            with pytest.raises(ChannelError, match="timed out"):
                one.result()
        server.answer = OK
        channel.send("13800000000", "123456")


def test_the_log_says_what_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        LogChannel().send("13800000000", "123456")
    assert "login_channel is log: the code of 13800000000 is 123456" in caplog.text
