"""A receiver of events: `python -m tests.clients.webhook_receiver PORT SECRET_FILE LOG`, or in a thread of a test.

It checks signatures and writes every event that it gets, one JSON line each, before it answers. How it answers is set
by GET /behave?mode=MODE&seconds=S: `take` (200), `fail` (503, nothing kept), `refuse` (400, nothing kept), `redirect`
(302 to itself), `late` (kept, 200 after so many seconds), `silent` (the same, but it never answers).
"""

import hmac
import json
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

FRESH_S = 300


class Receiver(ThreadingHTTPServer):
    """`log`: JSON lines."""

    daemon_threads = True

    def __init__(self, port: int, secret: bytes, log: Path) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.secret, self.log = secret, log
        self.mode, self.seconds = "take", 0.0
        self.posts, self.forged, self.under_way, self.most_under_way = 0, 0, 0, 0
        self.lock = threading.Lock()
        self.attempts: list[int] = []
        log.touch()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/events?key=in-the-query"

    def events(self) -> list[dict[str, Any]]:
        """All that came, in order, repeats too."""
        return read_log(self.log)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hangs up does so."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server, asked = self.server, parse_qs(urlsplit(self.path).query)
        if "mode" in asked:
            server.mode, server.seconds = asked["mode"][0], float(asked.get("seconds", ["0"])[0])
        said = {name: getattr(server, name) for name in ("posts", "forged", "most_under_way", "attempts")}
        self._say(200, json.dumps(said).encode())

    def do_POST(self) -> None:
        server = self.server
        with server.lock:
            server.posts += 1
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        try:
            self._take()
        finally:
            with server.lock:
                server.under_way -= 1

    def _take(self) -> None:
        server, mode = self.server, self.server.mode
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with server.lock:
            server.attempts.append(int(self.headers["Push-Attempt"]))
        if not is_genuine(server.secret, self.headers["Push-Timestamp"], self.headers["Push-Signature"], body):
            server.forged += 1
            self._say(403)
            return
        if mode in ("fail", "refuse", "redirect"):
            self._say({"fail": 503, "refuse": 400, "redirect": 302}[mode])
            return
        lines = "".join([json.dumps(event) + "\n" for event in json.loads(body)["events"]])
        with server.lock, server.log.open("a") as log:
            log.write(lines)
        if mode in ("late", "silent"):
            time.sleep(server.seconds if mode == "late" else 3600)
        self._say(200)

    def _say(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.path)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def is_genuine(secret: bytes, timestamp: str, signature: str, body: bytes) -> bool:
    """Whether a post is the gateway's, and of the last minutes."""
    expected = "v1=" + hmac.new(secret, f"{timestamp}.".encode() + body, sha256).hexdigest()
    return hmac.compare_digest(expected, signature) and abs(time.time() - int(timestamp)) < FRESH_S


def read_log(log: Path) -> list[dict[str, Any]]:
    """Every event in a log."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def behave(port: int, mode: str, seconds: float = 0) -> dict[str, Any]:
    """Set how a receiver answers; what it has counted."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/behave?mode={mode}&seconds={seconds}", timeout=5) as answer:
        said: dict[str, Any] = json.load(answer)
        return said


@contextmanager
def receiving(secret: bytes, log: Path) -> Iterator[Receiver]:
    """One in a thread of this process."""
    receiver = Receiver(0, secret, log)
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        receiver.server_close()


if __name__ == "__main__":
    _, port, secret_file, path = sys.argv
    Receiver(int(port), Path(secret_file).read_bytes().strip(), Path(path)).serve_forever()
