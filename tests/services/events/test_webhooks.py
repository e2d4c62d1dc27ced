"""Signed posts, to a real web server."""

import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

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
    for number in range(60):
        webhook.deliver([kept(number)], 1)
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


def test_faults_do_not_name_the_query() -> None:
    (port,) = free_ports(1)
    with pytest.raises(NotTaken) as fault:
        Webhook(f"http://127.0.0.1:{port}/events?key=hidden", SECRET, 5, 10).deliver([kept(1)], 1)
    assert "hidden" not in fault.value.why
    assert "refused" in fault.value.why


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
    with pytest.raises(SettingsError, match="9 bytes are fewer than 32") as fault:
        read_secret(path)
    assert "too short" not in str(fault.value)
    path.write_bytes(SECRET + b"\n")
    assert read_secret(path) == SECRET
