"""Signed posts, to a real web server."""

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pytest

from services.events.receivers import NotTaken
from services.events.signatures import read_secret, sign
from services.events.webhooks import PATIENCE_MAX, Webhook
from services.storage.events import Kept
from shared.errors import SettingsError
from tests.clients.webhook_receiver import Receiver, receiving
from tests.fleet.ports import free_ports

SECRET = b"0123456789abcdef0123456789abcdef"


def kept(number: int) -> Kept:
    return Kept(number, "ä", "connected", 17, f'{{"id":"{number}","text":"ü"}}')


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(SECRET, tmp_path / "log") as receiver:
        yield receiver


def test_signature_is_of_time_and_body() -> None:
    # printf '1795000000.{"events":[]}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
    assert sign(SECRET, 1795000000, b'{"events":[]}') == {
        "Push-Timestamp": "1795000000",
        "Push-Signature": "v1=a2622d6c6867fa24f908aba47c2afad659a6cc51e59c05b3e4b834b0e1528ca2",
    }


def test_events_arrive_signed_over_one_connection(receiver: Receiver) -> None:
    webhook = Webhook(receiver.url, SECRET, 5, 10)
    webhook.deliver([kept(1), kept(2)], 1)
    webhook.deliver([kept(3)], 2)
    webhook.close()
    assert receiver.events() == [{"id": str(n), "text": "ü", "token_sequence": 17, "number": n} for n in (1, 2, 3)]
    assert (receiver.posts, receiver.forged, receiver.attempts) == (2, 0, [1, 2])


def test_forged_posts_are_seen(receiver: Receiver) -> None:
    with pytest.raises(NotTaken, match="status 403"):
        Webhook(receiver.url, SECRET[::-1], 5, 10).deliver([kept(1)], 1)
    with pytest.raises(NotTaken, match="status 403"):
        Webhook(receiver.url, SECRET, 5, 10, lambda: 1e9).deliver([kept(1)], 1)
    assert (receiver.forged, receiver.events()) == (2, [])


@pytest.mark.parametrize("mode", ["fail", "refuse", "redirect"])
def test_only_2xx_takes_events(receiver: Receiver, mode: str) -> None:
    receiver.mode = mode
    with pytest.raises(NotTaken, match=r"^status \d{3}$"):
        Webhook(receiver.url, SECRET, 5, 10).deliver([kept(1)], 1)
    assert receiver.posts == 1  # no redirect was followed


def test_slow_receiver_gets_more_time(receiver: Receiver) -> None:
    webhook = Webhook(receiver.url, SECRET, 0.3, 10)
    receiver.mode, receiver.seconds = "late", 0.45
    with pytest.raises(NotTaken, match=r"^no answer within 0\.3 s$") as fault:
        webhook.deliver([kept(1)], 1)
    assert fault.value.late
    webhook.deliver([kept(1)], 2)
    webhook.deliver([kept(2)], 1)
    assert [event["id"] for event in receiver.events()] == ["1", "1", "2"]
    receiver.mode = "silent"
    waits = []
    webhook = Webhook(receiver.url, SECRET, 0.01, 10)
    for _ in range(5):
        with pytest.raises(NotTaken) as fault:
            webhook.deliver([kept(3)], 1)
        waits.append(float(fault.value.why.split()[-2]))
    assert waits == [0.01, 0.02, 0.04, 0.08, 0.01 * PATIENCE_MAX]
    receiver.mode = "take"
    for number in range(1000):
        with suppress(NotTaken):  # on a busy machine
            webhook.deliver([kept(number)], 1)
        if webhook._patience == 1:
            break
    receiver.mode = "silent"
    with pytest.raises(NotTaken, match=r"within 0\.01 s"):
        webhook.deliver([kept(4)], 1)


def answering(answer: bytes) -> tuple[socket.socket, str]:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}/"


def test_retry_after_is_followed_within_bounds() -> None:
    def serve(listener: socket.socket, after: bytes) -> None:
        peer, _ = listener.accept()
        peer.recv(65536)
        peer.sendall(b"HTTP/1.1 429 Slow\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n" % after)
        peer.close()

    for after, seconds in ((b"7", 7), (b"999999", 300), (b"tomorrow", 0), ("٧".encode(), 0)):
        listener, url = answering(b"")
        thread = Thread(target=serve, args=(listener, after))
        thread.start()
        with pytest.raises(NotTaken) as fault:
            Webhook(url, SECRET, 5, 10).deliver([kept(1)], 1)
        assert fault.value.after_s == seconds
        thread.join()
        listener.close()


@contextmanager
def dripping(begin: bytes, drop: bytes) -> Iterator[str]:
    """A web server that answers `begin`, and `drop` again and again; its URL."""
    ended = Event()

    def serve(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer, suppress(OSError):
            peer.recv(65536)
            peer.sendall(begin)
            while not ended.wait(0.05):
                peer.sendall(drop)

    listener, url = answering(b"")
    thread = Thread(target=serve, args=(listener,))
    thread.start()
    yield url
    ended.set()
    thread.join()
    listener.close()


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"HTTP/1.1 2", b"0"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_bytes_now_and_then_do_not_keep_a_post(begin: bytes, drop: bytes) -> None:
    with dripping(begin, drop) as url:
        webhook = Webhook(url, SECRET, 0.3, 10)
        with pytest.raises(NotTaken, match=r"^no answer within 0\.3 s$") as fault:
            webhook.deliver([kept(1)], 1)
        assert fault.value.late


@pytest.mark.parametrize(
    ("body", "drop"), [(b"Content-Length: 60000\r\n\r\n", b"x"), (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n")]
)
def test_nobody_waits_long_for_a_body(body: bytes, drop: bytes) -> None:
    with dripping(b"HTTP/1.1 200 OK\r\n" + body, drop) as url:
        webhook = Webhook(url, SECRET, 1, 10)
        webhook.deliver([kept(1)], 1)  # ends, and is taken
        assert webhook._posting.deadline.is_over


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"]
)
def test_a_head_that_breaks_off_takes_nothing(head: bytes) -> None:
    def serve(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(head)

    listener, url = answering(b"")
    thread = Thread(target=serve, args=(listener,))
    thread.start()
    with pytest.raises(NotTaken) as fault:
        Webhook(url, SECRET, 5, 10).deliver([kept(1)], 1)
    assert not fault.value.late
    thread.join()
    listener.close()


def test_a_receiver_that_reads_nothing_does_not_keep_a_post() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        large = [Kept(1, "a", "connected", 1, "x" * 30_000_000)]
        began = time.monotonic()
        with pytest.raises(NotTaken) as fault:
            Webhook(f"http://127.0.0.1:{listener.getsockname()[1]}/", SECRET, 0.3, 10).deliver(large, 1)
        assert fault.value.late
        assert time.monotonic() - began >= 0.3


def test_path_and_query_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(NotTaken) as fault:
            Webhook(f"http://127.0.0.1:{port}/hidden?key=hidden", SECRET, 5, 10).deliver([kept(1)], 1)
        assert "refused" in fault.value.why
        # a head that does not parse: urllib3 would name the URL
        with dripping(b"HTTP/1.1 200 OK\r\nno colon\r\nX: y\r\nContent-Length: 0\r\n\r\n", b"") as url:
            Webhook(f"{url}hidden?key=hidden", SECRET, 0.5, 10).deliver([kept(1)], 1)
    assert "hidden" not in fault.value.why + caplog.text


def test_what_is_no_http_is_a_fault(receiver: Receiver) -> None:
    with pytest.raises(NotTaken):
        Webhook(receiver.url.replace("http:", "https:"), SECRET, 5, 10).deliver([kept(1)], 1)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "gopher://x/", "http://user:word@there/", "there"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="event_webhook_url") as fault:
        Webhook(url, SECRET, 5, 10)
    assert "word" not in str(fault.value)


def test_secret_is_long_enough_and_never_told(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with pytest.raises(SettingsError, match="no such file"):
        read_secret(path)
    path.write_bytes(b"too short\n")
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="9 bytes are fewer than 32") as fault:
        read_secret(path)
    assert "too short" not in str(fault.value)
    path.write_bytes(SECRET + b"\n")
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="mode 0640 lets others read it"):
        read_secret(path)
    path.chmod(0o600)
    assert read_secret(path) == SECRET
